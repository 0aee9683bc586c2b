"""SegNeXt's head (Guo et al. 2022, section 3.2): levels side by side, a matrix factorisation over all pixels."""

from __future__ import annotations

from nas.fields import Place, Positive, PowerOfTwo
from nas.plan import Feature, Net
from nas.registry import kind
from search_spaces.blocks.conv import Dropout
from search_spaces.heads.logits import from_stride, logits

SQUEEZE = {"fuse": {"norm": "group"}}


@kind("hamburger", "head")
def hamburger(
    net: Net,
    features: list[Feature],
    *,
    classes: Place[int],
    finest: PowerOfTwo = 8,
    width: Positive = 256,
    rank: Positive = 16,
    train_steps: Positive = 6,
    eval_steps: Positive = 7,
    dropout: Dropout = 0.1,
) -> Feature:
    """Resize every level from stride `finest` up to the finest; 1x1 to `width`, `nmf`, 1x1, classify.

    Both 1x1s have group norm and ReLU. `rank` vectors describe an image: 16 in SegNeXt-T and -S, 64 in -B and -L.
    """
    levels = from_stride(features, finest)
    sources = {
        f"s{f.stride}": net.resize(f"up.s{f.stride}", f, to=levels[0].stride) for f in levels
    }
    x = net.add("squeeze", SQUEEZE, sources, width=width)
    ham = {"nmf": {"rank": rank, "train_steps": train_steps, "eval_steps": eval_steps}}
    x = net.add("ham", ham, x)
    x = net.add("align", SQUEEZE, {"ham": x}, width=width)
    return logits(net, x, classes, dropout)

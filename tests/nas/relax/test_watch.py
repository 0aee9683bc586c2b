"""What is watched: entropies and skips by hand, the decoded architecture's own, and when a search has collapsed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.relax.decode import decode
from nas.relax.skips import skips
from nas.relax.watch import collapsed, entropy, row, watched
from nas.relax.watch_plot import plot_watch
from nas.relax.weights import ArchitectureParameters
from tests.nas.relax.spaces import Relaxed, relaxed
from tests.nas.relax.supernets import images, loss, supernet


def chances(case: Relaxed, seed: int) -> dict[str, list[float]]:
    parameters = ArchitectureParameters(case.asked.values())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for logits in parameters.logits:
            logits.normal_(generator=generator)
    return {path: p.tolist() for path, p in parameters.probabilities().items()}


@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=8))
def test_an_entropy_lies_between_decided_and_alike(weights: list[float]) -> None:
    p = [w / sum(weights) for w in weights]
    assert 0 <= entropy(p) <= math.log(len(p)) + 1e-12
    assert entropy([1.0, 0.0]) == 0.0
    assert entropy([1 / len(p)] * len(p)) == pytest.approx(math.log(len(p)))


@pytest.mark.parametrize("seed", range(10))
def test_the_share_of_skips_is_the_decoded_architectures(seed: int) -> None:
    """Counted in the architecture itself: entries of cells whose operation is a skip."""
    case = relaxed("trellis")
    given = chances(case, seed)
    blocks = decode(case.space, given).tree["encoder"]["trellis"]["cell"]
    kinds = [next(iter(entry["op"])) for block in blocks for entry in block]
    assert row(case.space, case.asked.values(), given)["skip_share"] == pytest.approx(
        kinds.count("skip") / len(kinds)
    )


def test_a_row_is_what_it_says_by_hand() -> None:
    case = relaxed("trellis")
    given = chances(case, 3)
    found = row(case.space, case.asked.values(), given, gradients=[1.0, 3.0])
    offered = skips(case.asked.values())
    assert found["skip_chance"] == pytest.approx(
        sum(given[path][2] for path in offered) / len(offered)
    )
    shares = [found["entropy"][path] / math.log(len(p)) for path, p in given.items()]
    assert found["undecided"] == pytest.approx(sum(shares) / len(shares))
    assert found["gradient"] == 2.0


def test_where_no_skip_is_offered_there_is_nothing_to_say_of_them() -> None:
    case = relaxed("cells")
    found = row(case.space, case.asked.values(), chances(case, 0))
    assert (found["skip_share"], found["skip_chance"], found["gradient"]) == (None, None, None)
    assert collapsed([{"epoch": e, **found, "gradient": 1.0} for e in range(9)]) == ""


def rows(*shares: float, warm: int = 2) -> list[dict[str, Any]]:
    """Return epochs with these shares of skips, the first `warm` of them without learning."""
    return [
        {"epoch": e + 1, "skip_share": share, "gradient": None if e < warm else 1.0}
        for e, share in enumerate(shares)
    ]


def test_it_has_collapsed_when_skips_stay_above_the_share() -> None:
    assert collapsed(rows(0.9, 0.9, 0.1, 0.6, 0.7)) == ""
    why = collapsed(rows(0.9, 0.9, 0.1, 0.6, 0.7, 0.8))
    assert why.startswith("skips are 80% of the decisions")
    assert "since epoch 4" in why
    assert "architecture of epoch 3" in why


def test_it_has_not_collapsed_while_it_recovers_warms_up_or_is_asked_for_more() -> None:
    assert collapsed(rows(0.9, 0.9, 0.6, 0.7, 0.8, 0.5)) == ""
    assert collapsed(rows(0.9, 0.9, 0.9, 0.9, 0.9, warm=5)) == ""
    assert collapsed(rows(0.9, 0.9, 0.6, 0.7, 0.8), share=0.8) == ""
    assert collapsed(rows(0.9, 0.9, 0.6, 0.7, 0.8), patience=4) == ""
    assert collapsed([]) == ""


def test_skips_that_were_many_from_the_beginning_leave_no_better_epoch() -> None:
    assert "architecture of an epoch before" in collapsed(rows(0.0, 0.0, 0.6, 0.7, 0.8))


def test_a_supernet_is_watched_and_drawn(tmp_path: Path) -> None:
    net = supernet("trellis", warmup=0.5, targets={"macs": 1e6}).train()
    seen = []
    for epoch in range(4):
        for _ in net.between(images(epoch), images(9), loss, epoch=epoch, epochs=4):
            pass
        seen.append(watched(net, relaxed("trellis").space, epoch + 1))
    assert [r["gradient"] is None for r in seen] == [True, True, False, False]
    assert seen[1]["entropy"] == seen[0]["entropy"] != seen[3]["entropy"]
    assert seen[-1]["multipliers"] == net.multipliers != seen[0]["multipliers"]
    assert set(seen[-1]["costs"]) == {"macs", "params"}
    assert json.loads(json.dumps(seen)) == seen
    picture = plot_watch(seen, tmp_path / "new" / "watch.png")
    assert picture.read_bytes().startswith(b"\x89PNG")

"""Multi-scale superpixel message passing (Zhu et al. 2021, arXiv 2112.01746): sharper edges without a parameter."""

from __future__ import annotations

from collections.abc import Sequence

from nas.fields import Positive, Ratio
from nas.plan import Feature, Net
from nas.registry import kind


@kind("msp", "context", "neck")
def msp(
    net: Net,
    features: list[Feature],
    *,
    sizes: Sequence[Positive] = (16, 26, 51),
    compactness: Ratio = 0.5,
    steps: Positive = 5,
    weight: Ratio = 1.0,
) -> list[Feature]:
    """Add to each pixel the mean over its superpixel, for ever larger superpixels; on every level.

    `sizes` are sides in pixels of the image: on 512x512 about 1,000, 400 and 100 superpixels. Those under two pixels of
    a level's map are left out there. As a context it stands behind the encoder, as a neck behind another context, where
    PSPNet and DeepLabv3 have their classifier next, as in the paper. From its abstract: the means, that they are added,
    the cascade. Algorithm, sizes and their order, fine to coarse, are a reconstruction.
    """
    outputs = []
    for x in features:
        cells = [cell for cell in (round(size / x.stride) for size in sizes) if cell > 1]
        fields = {"cells": cells, "compactness": compactness, "steps": steps, "weight": weight}
        if cells:
            spec = {"superpixel_message": fields}
            x = net.add(f"s{x.stride}", spec, x, net.image, to=x.stride)  # noqa: PLW2901
        outputs.append(x)
    return outputs

"""Blocks that say which layers they are made of, so that many of one form can be run as one."""

from __future__ import annotations

from torch import Tensor, nn


class Layered(nn.Module):
    """A block that runs its `layers()` one after the other, and does nothing else.

    A layer without parameters and buffers must be a function of its input and of its own public attributes: what is
    equal is run once for all blocks that begin with it. So no layer is a dropout.
    """

    def layers(self) -> tuple[nn.Module, ...]:
        """Return the layers in their order, those of inner blocks written out."""
        raise NotImplementedError(f"{type(self).__name__} must say which layers it is made of")

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers."""
        for layer in self.layers():
            x = layer(x)
        return x


def layers_of(*modules: nn.Module) -> tuple[nn.Module, ...]:
    """Return the layers of modules that follow each other; an identity is none."""
    found: list[nn.Module] = []
    for module in modules:
        if isinstance(module, Layered):
            found += module.layers()
        elif not isinstance(module, nn.Identity):
            found.append(module)
    return tuple(found)

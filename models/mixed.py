"""TF-Slim's mixed blocks as tables: parallel branches of layers, concatenated."""

from __future__ import annotations

import re

from rfgraph.frozen import dataclass
from rfgraph.graph.network import Network

#: What a name begins with -> op.
OPS = {"Conv2d": "conv", "Conv": "conv", "MaxPool": "max_pool", "AvgPool": "avg_pool"}


@dataclass(frozen=True)
class Layer:
    """A conv or pool of TF-Slim, whose kernel stands at the end of its name.

    Examples
    --------
    >>> Layer("Conv2d_0b_1x7", 64).kernel, Layer("MaxPool_1a_3x3", stride=2).op
    ((1, 7), 'max_pool')
    """

    name: str
    channels: int | None = None
    stride: int = 1
    padding: str = "same"
    #: The kernel where the name does not tell it.
    true_kernel: int | None = None

    @property
    def op(self) -> str:
        """The op, which the name begins with."""
        return OPS[self.name.partition("_")[0]]

    @property
    def kernel(self) -> tuple[int, int]:
        """Kernel along y and x."""
        if self.true_kernel:
            return self.true_kernel, self.true_kernel
        height, width = re.findall(r"(\d+)x(\d+)$", self.name)[0]
        return int(height), int(width)

    def add(self, net: Network, x: str, scope: str = "") -> str:
        """Add the layer after ``x`` and return its name, which begins with ``scope``."""
        attributes = {} if self.channels is None else {"channels": self.channels}
        return net.node(
            self.op,
            f"{scope}{self.name}",
            x,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            **attributes,
        )


#: Layers one after the other; a tuple of layers among them reads side by side and is concatenated.
Branch = tuple["Layer | tuple[Layer, ...]", ...]


def add_branch(net: Network, scope: str, x: str, branch: Branch) -> str:
    """Add the layers of ``branch`` after ``x``, under names that begin with ``scope``, and return the last."""
    for step in branch:
        if isinstance(step, Layer):
            x = step.add(net, x, f"{scope}/")
        else:
            x = net.concat(f"{scope}/concat", *(layer.add(net, x, f"{scope}/") for layer in step))
    return x


def add_mixed(net: Network, name: str, x: str, *branches: Branch) -> str:
    """Add a block of parallel ``branches`` after ``x`` and return their concatenation, ``name``."""
    ends = [add_branch(net, f"{name}/Branch_{index}", x, branch) for index, branch in enumerate(branches)]
    return net.concat(name, *ends)

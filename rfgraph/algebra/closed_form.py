"""The closed forms for networks with a single path: no pass, one sum."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul

from rfgraph.algebra.window import Window


def single_path(kernels: Sequence[int], strides: Sequence[int], paddings: Sequence[int]) -> Window:
    """Return the receptive field of a chain of layers, from its kernels, strides and left paddings.

    ``r = 1 + sum (k_l - 1) * s_1 ... s_(l-1)``, ``S = s_1 ... s_L``, ``P = sum p_l * s_1 ... s_(l-1)``.

    Parameters
    ----------
    kernels, strides, paddings
        One number per layer along one axis, input first. A dilated kernel counts as ``(k - 1) * d + 1``.

    Raises
    ------
    ValueError
        If the three differ in length.

    References
    ----------
    Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019, equations 2 and 3.

    Examples
    --------
    The first three layers of AlexNet: 11/4/0, 3/2/0, 5/1/2.

    >>> single_path([11, 3, 5], [4, 2, 1], [0, 0, 2])
    Window(size=51, stride=8, padding=16)
    """
    jumps = list(accumulate(strides, mul, initial=1))
    size = 1 + sum((kernel - 1) * jump for kernel, jump in zip(kernels, jumps[:-1], strict=True))
    padding = sum(pad * jump for pad, jump in zip(paddings, jumps[:-1], strict=True))
    return Window(size, jumps[-1], padding)

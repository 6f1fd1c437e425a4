"""What layers hold and take: learned parameters, and multiply-accumulates, from the channels that flow through.

Each op has one formula, in arithmetic alone: it holds of integers, of the symbolic sizes of a model file, and of numpy
arrays with one entry per design of a sweep. Whatever it needs and does not get makes its result ``None``.

Counted are learned numbers (the running statistics of a normalisation are none), and the multiply-accumulates of
convolutions and matrix products for one input, biases left out: what torchvision's tables, fvcore and ptflops list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rfgraph.frozen import dataclass
from rfgraph.ops.base import KINDS, entry, flag, natural, optional, positive

#: An integer, a symbolic size, or an array of integers with one entry per design.
Count = Any


@dataclass(frozen=True, slots=True)
class Map:
    """A feature map of one input: its channels, and its size along each axis."""

    channels: Count | None
    sizes: tuple[Count | None, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one layer makes, holds and takes; ``None`` where that is not known.

    Examples
    --------
    >>> Cost(channels=8, parameters=216, macs=None).macs is None
    True
    """

    #: Channels of its map.
    channels: Count | None = None
    #: Learned numbers that are read here first; a weight that several layers share counts once.
    parameters: Count | None = None
    #: Multiply-accumulates for one input.
    macs: Count | None = None
    #: Why something is not known, where it is not just for want of channels or of an input size.
    why: str = ""
    #: Whether channels that meet agree and groups divide them; where they do not, no other number means anything.
    fits: Any = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the attributes of a node say that its cost depends on; one entry per axis where there are axes."""

    op: str
    channels: Count | None = None
    groups: Count = 1
    #: Whether a number is added per channel; ``None`` for what is usual of the op: in norms, but not in convolutions.
    bias: Any = None
    kernel: tuple[Count, ...] = ()
    block: tuple[Count, ...] = ()
    mixes: tuple[bool, ...] = ()
    #: Whether a concatenation is one of channels.
    beside: bool = True
    #: Numbers that the node states itself, in place of the formula's.
    stated: Mapping[str, Any] | None = None


Formula = Callable[[Settings, Sequence[Map], Sequence[Count | None]], Cost]

#: Ops whose usual form adds a learned number per channel.
NORMS = frozenset({"batch_norm", "layer_norm", "group_norm", "instance_norm"})

#: Op -> its formula, where it holds learned numbers or changes its channels.
FORMULAS: dict[str, Formula] = {}

#: Ops that keep their channels, hold nothing and take nothing, as do functions of one position that have no formula,
#: and ops that state their weights.
#: Each is listed: what an op costs that no one thought of is not known.
KEEPING = frozenset(
    {
        *("input", "either", "max_pool", "lp_pool", "adaptive_max_pool", "global_avg_pool", "global_max_pool"),
        *("gather", "softmax", "cumsum", "broadcast"),
    }
)


def formula(*ops: str) -> Callable[[Formula], Formula]:
    """Register the formula of ``ops``."""

    def register(function: Formula) -> Formula:
        for op in ops:
            if op in FORMULAS:
                raise ValueError(f"op {op!r} has two formulas; keep one")
            FORMULAS[op] = function
        return function

    return register


def cost(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    """Return what a layer holds and takes.

    Parameters
    ----------
    settings
        Its attributes, as ``settings_of`` reads them; any number may be an array.
    inputs
        The maps that it reads, one per slot.
    sizes
        Size of its own map along each axis.

    Examples
    --------
    >>> image = Map(3, (224, 224))
    >>> cost(Settings(op="conv", kernel=(7, 7), channels=64), [image], (112, 112))
    Cost(channels=64, parameters=9408, macs=118013952, why='', fits=True)
    """
    computed = FORMULAS.get(settings.op, _keeps if _is_free(settings.op) else _unknown)(settings, inputs, sizes)
    return replace(computed, **settings.stated) if settings.stated else computed


def cost_at_most(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    """Return a cost that the layer has at the most, whatever its groups, and whichever of its inputs are narrower.

    Parameters
    ----------
    settings, inputs, sizes
        As for ``cost``, each number the greatest that there is.

    Examples
    --------
    >>> grouped = Settings(op="conv", kernel=(3,), channels=4, groups=2)
    >>> cost(grouped, [Map(8, (5,))], (5,)).parameters, cost_at_most(grouped, [Map(8, (5,))], (5,)).parameters
    (48, 96)
    """
    plain = replace(
        settings, groups=1, op={"depthwise_conv": "conv", "depth_to_space": "identity"}.get(settings.op, settings.op)
    )
    if settings.op == "depthwise_conv" and plain.channels is None:
        plain = replace(plain, channels=inputs[0].channels)
    if settings.op not in ("concat", "flatten", "dense"):  # maps that meet may have one channel each in some designs
        known = [one.channels for one in inputs]
        if known and None not in known:
            inputs = [Map(max(filter(None, known)), one.sizes) for one in inputs]
    return cost(plain, inputs, sizes)


def _is_free(op: str) -> bool:
    return op in KEEPING or (op in KINDS and (KINDS[op].own_position or KINDS[op].has_fixed_weights()))


# Formulas.


def _times(*factors: Count | None) -> Count | None:
    """Return the product of what is known, ``None`` if some of it is not."""
    result: Count = 1
    for factor in factors:
        if factor is None:
            return None
        result = result * factor
    return result


def _plus(a: Count | None, b: Count | None) -> Count | None:
    return None if a is None or b is None else a + b


def _together(inputs: Sequence[Map]) -> tuple[Count | None, Any]:
    """Return the channels of maps that are read at the same place, and whether they agree; one channel fits any."""
    channels, fits = inputs[0].channels, True
    for other in [one.channels for one in inputs[1:]]:
        if channels is None or other is None:
            return None, fits
        fits = ((channels == other) | (channels == 1) | (other == 1)) & fits
        channels = channels + (other - channels) * (other > channels)
    return channels, fits


def _disagree(inputs: Sequence[Map], fits: Any) -> str:
    if not isinstance(fits, bool) or fits:
        return ""
    return f"its inputs have {', '.join(str(one.channels) for one in inputs)} channels"


def _keeps(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    """A function of positions: it holds nothing."""
    channels, fits = _together(inputs) if inputs else (None, True)
    if settings.channels is not None:
        return Cost(settings.channels, 0, 0)
    why = _disagree(inputs, fits)
    return Cost(None if why else channels, 0, 0, why, fits)


@formula("constant")
def _constant(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    return Cost(settings.channels, None, 0, "whether it is learned is not said; give parameters=")


@formula("unknown", "attention", "recurrent", "prelu")
def _unknown(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    """An op whose name does not say what it holds."""
    channels = settings.channels
    if channels is None and settings.op in KINDS and settings.op != "unknown":
        channels = inputs[0].channels
    macs = 0 if settings.op == "prelu" else None
    given = "parameters=" if settings.op == "prelu" else "parameters= and macs="
    return Cost(channels, None, macs, f"what {settings.op} holds is not said; give {given}")


@formula("concat")
def _concat(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    if not settings.beside:
        return _keeps(settings, inputs, sizes)
    channels: Count | None = 0
    for one in inputs:
        channels = _plus(channels, one.channels)
    return Cost(channels if settings.channels is None else settings.channels, 0, 0)


def _weighted(settings: Settings, c_in: Count | None, positions: Count | None) -> Cost:
    """A kernel of weights for each pair of channels of a group, applied at ``positions``."""
    c_out, groups = settings.channels, settings.groups
    weights = _times(*settings.kernel, c_in, c_out)
    fits: Any = True
    if weights is not None and not (isinstance(groups, int) and groups == 1):
        fits = _divides(groups, c_in) & _divides(groups, c_out)
        weights = weights // groups
        if isinstance(fits, bool) and not fits:
            return Cost(c_out, why=f"its {groups} groups do not divide {c_in} and {c_out} channels", fits=fits)
    return Cost(c_out, _with_bias(settings, weights, c_out), _times(weights, positions), fits=fits)


def _divides(groups: Any, channels: Any) -> Any:
    """Return whether groups divide channels, of each design in a sweep; of sizes that are open it is not known."""
    return channels - channels // groups * groups == 0


def _with_bias(settings: Settings, weights: Count | None, channels: Count | None, usual: bool = False) -> Count | None:
    """Return ``weights`` and one number per channel, if the layer has a bias."""
    bias = usual if settings.bias is None else settings.bias
    if isinstance(bias, bool) and not bias:
        return weights
    return _plus(weights, _times(channels, bias))


@formula("conv")
def _conv(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    return _weighted(settings, inputs[0].channels, _times(*sizes))


@formula("conv_transpose")
def _conv_transpose(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    """Each input is multiplied by the whole kernel, whatever is cropped of what comes out."""
    return _weighted(settings, inputs[0].channels, _times(*inputs[0].sizes))


@formula("depthwise_conv")
def _depthwise(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    """One group per channel of the input."""
    c_in = inputs[0].channels
    channels = c_in if settings.channels is None else settings.channels
    groups = 1 if c_in is None else c_in
    return _weighted(replace(settings, channels=channels, groups=groups), c_in, _times(*sizes))


@formula("separable_conv")
def _separable(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    """A depthwise convolution of as many channels as it reads, and a 1x1 convolution; the bias is the latter's."""
    c_in, c_out = inputs[0].channels, settings.channels
    weights = _plus(_times(*settings.kernel, c_in), _times(c_in, c_out))
    return Cost(c_out, _with_bias(settings, weights, c_out), _times(weights, *sizes))


def _mixed(settings: Settings, one: Map) -> Count | None:
    """Return how many positions are put together for each one that is left."""
    return _times(*(size for size, mixes in zip(one.sizes, settings.mixes, strict=True) if mixes))


@formula("dense")
def _dense(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    """All positions and channels at once, as after a flatten."""
    features = _times(inputs[0].channels, _mixed(settings, inputs[0]))
    left = _times(*(size for size, mixes in zip(sizes, settings.mixes, strict=True) if not mixes))
    return _weighted(settings, features, left)


@formula("flatten")
def _flatten(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    channels = _times(inputs[0].channels, _mixed(settings, inputs[0])) if inputs else None
    return Cost(channels if settings.channels is None else settings.channels, 0, 0)


@formula(*sorted(NORMS), "scale")
def _norm(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    """A factor per channel and, in norms, a number to add."""
    kept = _keeps(settings, inputs[:1], sizes)
    return replace(kept, parameters=_with_bias(settings, kept.channels, kept.channels, settings.op in NORMS))


@formula("bias")
def _bias(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    kept = _keeps(settings, inputs, sizes)
    return replace(kept, parameters=kept.channels)


@formula("space_to_depth")
def _space_to_depth(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    channels = _times(inputs[0].channels, *settings.block)
    return Cost(channels if settings.channels is None else settings.channels, 0, 0)


@formula("depth_to_space")
def _depth_to_space(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Count | None]) -> Cost:
    c_in, block = inputs[0].channels, _times(*settings.block)
    if settings.channels is not None or c_in is None or block is None:
        return Cost(settings.channels, 0, 0)
    fits = c_in % block == 0
    if isinstance(fits, bool) and not fits:
        return Cost(None, 0, 0, f"its blocks of {block} positions do not divide {c_in} channels", fits)
    return Cost(c_in // block, 0, 0, fits=fits)


def settings_of(attributes: Mapping[str, Any], axes: int) -> Settings:
    """Return what the attributes of a node say that its cost depends on.

    Raises
    ------
    AttributeValueError
        If one of them is not what it must be.

    Examples
    --------
    >>> settings_of({"op": "conv", "kernel": 3, "channels": 64, "padding": 1}, axes=2).kernel
    (3, 3)
    """
    op = str(attributes.get("op"))
    read: dict[str, Any] = {}
    for name, reader in (("channels", positive), ("groups", positive), ("bias", flag)):
        value = attributes.get(name)
        if value is not None:
            read[name] = reader(name, value)
    for name, reader in (("kernel", positive), ("block", positive), ("mixes", flag)):
        value = attributes.get(name, True if name == "mixes" else None)
        if value is not None:
            read[name] = tuple(reader(name, entry(name, value, axis, axes)) for axis in range(axes))
    stated = {n: optional(natural)(n, attributes[n]) for n in ("parameters", "macs") if n in attributes}
    beside = attributes.get("axis", "channels") == "channels"
    return Settings(op=op, beside=beside, stated=stated or None, **read)


#: Attributes of a node that its cost depends on.
TELLING = ("op", "channels", "groups", "bias", "kernel", "block", "mixes", "axis", "parameters", "macs")

#: Ops that hold learned numbers, or may.
HOLDING = frozenset(FORMULAS) - {"concat", "flatten", "space_to_depth", "depth_to_space"}

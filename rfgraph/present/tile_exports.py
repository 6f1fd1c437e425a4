"""Plans of tiles in the words of other tools, and what those words cannot say.

Each tool has a rule of its own by which it lays tiles, which was read in its published source; its arguments are chosen
so that, by that rule, tiles start at multiples of the start multiple ``M`` wherever that can be had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from math import ceil, floor

from rfgraph.present.rows import Document
from rfgraph.present.tiling import TilingView
from rfgraph.questions.findings import named_axes
from rfgraph.questions.tiles import AxisTiling, Tiling


def exported(view: TilingView, form: str) -> Document:
    """Return the first plan in the words of another tool, one of ``EXPORTS``; notes say what those words cannot."""
    plan = view.plans[0]
    if plan.blockers:
        return {"status": plan.status, "blockers": [str(blocker) for blocker in plan.blockers]}
    return EXPORTS[form](plan)


def _bioimageio(plan: Tiling) -> Document:
    """Return axes for a model description of bioimage.io, format 0.5.

    A size is ``min + n * step``, an output's is the input's over ``scale``, plus ``offset``. One halo is cropped at
    both sides, in outputs; consumers lay tiles that step by the size less two halos, the first of which starts a halo
    before the image, which they pad. So both the halo and the size are rounded up to multiples of ``M``.
    """
    source, layer = _identifier(plan.source, "input"), _identifier(plan.layer, "output")
    if layer == source:
        layer = "output"
    inputs: list[Document] = []
    outputs: list[Document] = []
    lost = []
    for axis in plan.axes:
        stride = Fraction(axis.stride)
        name = {"t": "time"}.get(axis.axis, axis.axis)
        kind = "time" if axis.axis == "t" else "space"
        on_grid = axis.halos.get(0)
        residue = 0 if on_grid else min(axis.halos)
        halo = on_grid or axis.halos[residue]
        multiples = ceil(max(halo.before, halo.after) * stride / axis.multiple)
        least = max(2 * multiples * axis.multiple + axis.multiple + residue, halo.settled)
        size_at = halo.outputs + (least - halo.settled) / stride
        inputs.append({"type": kind, "id": name, "size": {"min": least, "step": axis.multiple}})
        offset = int(size_at) - floor(least / stride)
        output: Document = {
            "type": kind, "id": name, "size": {"tensor_id": source, "axis_id": name, "offset": offset},
        }  # fmt: skip
        if multiples:
            output["halo"] = int(multiples * axis.multiple / stride)
        if stride != 1:
            output["scale"] = int(stride) if stride.denominator == 1 else float(stride)
        outputs.append(output)
        if multiples:
            dropped = " and ".join(str(number) for number in axis.halo)
            lost.append(
                (axis, f"one halo of {output['halo']} outputs for both sides, of which {dropped} are not exact")
            )
            lost.append((axis, "at the image's border tiles are padded by the halo, as the whole image is not"))
        if residue:
            lost.append((axis, (
                f"the network runs on sizes of {residue} modulo {axis.multiple}, so tiles that step by their size do "
                f"not start at multiples of {axis.multiple}: the result is not exact"
            )))  # fmt: skip
        elif offset:
            lost.append((axis, f"the output has {offset:+} positions beside the image's, over the stride"))
        if axis.image is None and axis.multiple > 1:
            lost.append((axis, f"exact only for images of a multiple of {axis.multiple} pixels"))
        elif axis.image is not None and axis.image % axis.multiple:
            what = "no tile agrees, with padding 'same'" if axis.same else "the last tile is moved back off the grid"
            lost.append((axis, f"{axis.image} pixels are no multiple of {axis.multiple}, so {what}: pad the image"))
    return {
        "inputs": [{"id": source, "axes": inputs}],
        "outputs": [{"id": layer, "axes": outputs}],
        "lost": _told(lost),
    }


def _identifier(name: object, otherwise: str) -> str:
    """Return a name that may be one of a tensor: a lower-case identifier of at most 32 characters."""
    text = str(name).lower()
    return text if text.isidentifier() and len(text) <= 32 else otherwise


def _monai(plan: Tiling) -> Document:
    """Return arguments of MONAI's sliding window inferer.

    Windows of ``roi_size`` step by ``int(roi_size * (1 - overlap))``; the last one is moved back to end with the image.
    """
    roi, overlaps, lost = [], [], []
    for axis in plan.axes:
        size = _in_step(axis, axis.overlap)
        step = max((size - axis.overlap) // axis.multiple * axis.multiple, axis.multiple)
        # The step is found again in floats: aim at the middle of the pixel.
        overlaps.append(1 - (step + 0.5) / size)
        roi.append(size)
        what = "those of the halo too, so the result is never exact"
        lost.append((axis, f"where windows overlap their outputs are blended, {what}"))
        lost += _moved_back(axis, size, "window")
    return {"roi_size": roi, "overlap": overlaps, "mode": "constant", "lost": _told(lost)}


def _careamics(plan: Tiling) -> Document:
    """Return arguments of CAREamics' prediction.

    Tiles step by ``tile_size - tile_overlap``, which is even; half of it is cropped at each side inside the image, and
    the last tile is moved back to end with the image.
    """
    sizes, overlaps = [], []
    lost = []
    for axis in plan.axes:
        halo = max(axis.halo_pixels)
        size = _in_step(axis, 2 * halo)
        # The least even overlap of two halos at which tiles step by a multiple.
        overlap = next(
            (o for o in range(2 * halo, min(size, 2 * (halo + axis.multiple)), 2) if (size - o) % axis.multiple == 0),
            None,
        )
        sizes.append(size)
        overlaps.append(2 * halo if overlap is None else overlap)
        if size == axis.image:
            continue
        if overlap is None:
            what = f"no even overlap lets tiles of {size} step by a multiple of {axis.multiple}"
            lost.append((axis, f"{what}, so the result is not exact"))
        if overlaps[-1] > axis.overlap > 0:
            what = f"{overlaps[-1]} pixels, not {axis.overlap}"
            lost.append((axis, f"an overlap cropped alike at both sides takes {what}"))
        lost += _moved_back(axis, size, "tile")
        of_tile = axis.halos[size % axis.multiple]
        if axis.stride != 1 or of_tile.outputs != of_tile.settled:
            what = "the output is not as large as the image, and CAREamics puts tiles together pixel by pixel"
            lost.append((axis, f"{what}: the result is not exact"))
    return {"tile_size": sizes, "tile_overlap": overlaps, "lost": _told(lost)}


def _in_step(axis: AxisTiling, shared: int) -> int:
    """Return a tile size that leaves a step beside ``shared`` pixels, near the one of the plan.

    The network runs on it, and the last tile is in step with the image if that can be had.
    """
    residues = set(axis.halos)
    if axis.image is not None and axis.image % axis.multiple in residues:
        residues = {axis.image % axis.multiple}
    size = axis.tile or 4 * max(shared, axis.multiple)
    least = shared + axis.multiple
    below = [size - (size - residue) % axis.multiple for residue in residues]
    fitting = [size for size in below if size >= least]
    return (
        max(fitting) if fitting else min(size + -(-(least - size) // axis.multiple) * axis.multiple for size in below)
    )


def _moved_back(axis: AxisTiling, size: int, what: str) -> list[tuple[AxisTiling, str]]:
    """Return what is lost where the last tile is moved back to end with the image."""
    if axis.image is None and axis.multiple > 1:
        where = f"less {size} is a multiple of {axis.multiple}"
        return [(axis, f"the last {what} ends with the image, and agrees with the whole only where its size {where}")]
    if axis.image is not None and (axis.image - size) % axis.multiple:
        start = f"{axis.image - size}, no multiple of {axis.multiple}"
        return [(axis, f"the last {what} starts at {start}, so its outputs are others than the whole image's")]
    return []


def _told(lost: Iterable[tuple[AxisTiling, str]]) -> list[str]:
    """Return sentences, each once, with the axes that it holds on."""
    axes: dict[str, list[str]] = {}
    for axis, sentence in lost:
        axes.setdefault(sentence, []).append(axis.axis)
    return [f"{named_axes(tuple(names))}: {sentence}" for sentence, names in axes.items()]


EXPORTS: dict[str, Callable[[Tiling], Document]] = {
    "bioimageio": _bioimageio,
    "monai": _monai,
    "careamics": _careamics,
}

"""Which dimensions of each input are spatial: those that the first windows of the model slide over.

Nothing is guessed from ranks or names. The lowering is run once with every dimension of every input taken for an axis
of its own, and a ``Probe`` notes which of them conv, pool and resize windows reach, and which are cut into patches that
are summed, each for itself: that is a window as large as its stride. Where a model has nothing of the kind, the user
says it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rfgraph.errors import ModelFileError
from rfgraph.frozen import dataclass
from rfgraph.graph.sizes import meant
from rfgraph.importers.lowering.views import Dimension, Part, View, along, other
from rfgraph.importers.program import Dim, Instruction, Program, Shape, Value, exact_quotient, symbol, text

Span = tuple[Dim, Dim]  # size and stride of a part
WHOLE: Span = (0, 0)
Spatial = list[tuple[int, tuple[int, Span]]]  # the dimensions of an input that are slid over, and what of them

#: What a user says of the dimensions of each input, or of all alike: a letter for an axis, a dot for any other.
Axes = Mapping[str, str] | str


def _check_letters(name: str, letters: object) -> None:
    if not isinstance(letters, str) or any(letter != "." and not letter.isalpha() for letter in letters):
        raise ModelFileError(f"axes {letters!r} of input {name!r} is not a letter or a dot for each dimension: '..HW'")
    twice = sorted({letter for letter in letters if letter != "." and letters.count(letter) > 1})
    if twice:
        raise ModelFileError(f"axes {letters!r} of input {name!r} has {twice[0]!r} twice; each axis is one dimension")


@dataclass(frozen=True)
class Layout:
    """The axes of a network, and how the dimensions of each input carry them."""

    axes: int
    views: Mapping[str, View | None]  # None: the rank is not known before a window is met

    @classmethod
    def stated(cls, program: Program, axes: Axes) -> Layout:
        """Return the layout that a user states: for each input a letter per dimension that is an axis, else a dot.

        The same letter is the same axis in every input; axes are numbered as their letters come.

        Raises
        ------
        ModelFileError
            If it does not fit the inputs.

        Examples
        --------
        >>> from rfgraph.importers.program.builder import Builder
        >>> build = Builder("toy")
        >>> image = build.input("image", (1, 3, 32, 48))
        >>> sorted(Layout.stated(build.program([image]), {"image": "..HW"}).views["image"].dims[3].axes)
        [1]
        """
        names = [value.name for value in program.inputs]
        texts = dict.fromkeys(names, axes) if isinstance(axes, str) else dict(axes)
        for name, letters in texts.items():
            if name not in names:
                known = ", ".join(map(repr, names))
                raise ModelFileError(f"axes: {program.name} has no input {name!r}; it has {known}")
            _check_letters(name, letters)
        number: dict[str, int] = {}
        for name in names:
            for letter in texts.get(name, ""):
                if letter != ".":
                    number.setdefault(letter, len(number))
        if not number:
            raise ModelFileError(f"axes {axes!r} names no axis; write a letter for each dimension that is one: '..HW'")
        views: dict[str, View | None] = {}
        for value in program.inputs:
            letters = texts.get(value.name, "")
            shape = value.shape
            if shape is None:
                shape = tuple(symbol(f"{value.name}.{d}") for d in range(len(letters)))
            letters = letters or "." * len(shape)
            if len(letters) != len(shape):
                raise ModelFileError(
                    f"axes {letters!r} of input {value.name!r} has {len(letters)} dimensions, but its shape is "
                    f"{text(shape)}"
                )
            lettered = zip(letters, shape, strict=True)
            dims = tuple(other(size) if letter == "." else along(number[letter], size) for letter, size in lettered)
            views[value.name] = View(dims) if dims or value.shape is not None else None
        return cls(len(number), views)

    @classmethod
    def given(cls, program: Program, dims: Mapping[str, Sequence[int]]) -> Layout:
        """Return the layout in which ``dims`` of each input are the spatial axes, in that order."""
        views: dict[str, View | None] = {}
        for value in program.inputs:
            spatial = {d: axis for axis, d in enumerate(dims.get(value.name, ()))}
            views[value.name] = None if value.shape is None else View(
                tuple(along(spatial[d], size) if d in spatial else other(size) for d, size in enumerate(value.shape))
            )  # fmt: skip
        return cls(max(map(len, dims.values())), views)

    @property
    def spatial(self) -> dict[str, list[int]] | None:
        """The dimensions of each input that are its axes, in order; ``None`` where one is no dimension of its own."""
        spatial: dict[str, list[int]] = {}
        for name, view in self.views.items():
            places = [] if view is None else [view.places(axis) for axis in range(self.axes)]
            dims = [place[0][0] for place in places if len(place) == 1 and view is not None]
            if view is None or (view.axes and [view.whole(d) for d in dims] != list(range(self.axes))):
                return None
            spatial[name] = dims if view.axes else []
        return spatial

    @property
    def begins(self) -> int:
        """The first dimension of the inputs that are maps of all axes that is an axis, 0 if there is no such one."""
        views = [view for view in self.views.values() if view is not None and view.rank == self.axes + 2]
        firsts = {view.places(0)[0][0] for view in views if len(view.axes) == self.axes}
        return firsts.pop() if len(firsts) == 1 else 0

    def resized(self, program: Program, input_size: Any) -> dict[str, Shape]:
        """Return the shapes of inputs for another input size, where it differs from the model's own.

        What does not fit the axes is left to the analysis to refuse.
        """
        shapes = {}
        asked = input_size if isinstance(input_size, Mapping) else self._by_input(program, input_size)
        for value in program.inputs:
            view = self.views[value.name]
            given = asked.get(value.name)
            sizes = [given] * self.axes if isinstance(given, int) else list(given or ())
            if view is None or value.shape is None or len(sizes) != self.axes or not view.axes:
                continue
            if any(not isinstance(size, int) or size < 1 for size in sizes):
                continue
            axes = [view.whole(d) for d in range(view.rank)]
            shape = tuple(size if axis is None else sizes[axis] for axis, size in zip(axes, value.shape, strict=True))
            if shape != value.shape:
                shapes[value.name] = shape
        return shapes

    def _by_input(self, program: Program, input_size: Any) -> dict[str, Any]:
        """Return one size for all axes, or one per axis, for each input that it is meant for."""
        stated = {
            value.name: [view.extent(axis) for axis in sorted(view.axes)]
            for value in program.inputs
            if (view := self.views[value.name]) is not None and view.axes
        }
        sizes = [input_size] * self.axes if isinstance(input_size, int) else list(input_size or ())
        return dict.fromkeys(meant(stated, sizes) or (), input_size)


class Probe:
    """Notes which parts of which input dimensions are slid over."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.views: dict[str, View | None] = {}
        self._dims: list[tuple[str, int]] = []  # candidate axis -> input and dimension
        self._parent: list[int] = []
        self._slid: dict[int, set[Span]] = {}
        #: Dimensions that a window slides over, one of them and its axis.
        self._stands: set[tuple[tuple[int, ...], int, int | None]] = set()
        self._patched: list[tuple[int, ...]] = []  # the axes that are cut into the same patches
        #: How often candidates were found to be the same.
        self.united = 0
        self._most = 0
        self._lost: set[str] = set()
        self._behind: set[str] = set()  # tensors that come from steps that could not be followed
        for value in program.inputs:
            self.views[value.name] = self._candidates(value)

    @property
    def axes(self) -> int:
        """How many candidate axes there are."""
        return len(self._dims)

    def _candidates(self, value: Value) -> View | None:
        if value.shape is None:
            return None
        first = len(self._dims)
        self._dims += [(value.name, d) for d in range(len(value.shape))]
        self._parent += range(first, len(self._dims))
        return View(tuple(along(first + d, size) for d, size in enumerate(value.shape)))

    def find(self, axis: int) -> int:
        """Return the axis that stands for all that are the same as ``axis``."""
        while self._parent[axis] != axis:
            self._parent[axis] = self._parent[self._parent[axis]]
            axis = self._parent[axis]
        return axis

    def same(self, a: int, b: int) -> None:
        """Note that two candidates lie on each other where maps are merged."""
        a, b = self.find(a), self.find(b)
        if a == b:
            return
        owners = [{self._dims[axis][0] for axis in range(self.axes) if self.find(axis) == group} for group in (a, b)]
        if not owners[0] & owners[1]:  # two dimensions of one input are two axes, wherever they meet
            self._parent[max(a, b)] = min(a, b)
            self.united += 1

    def canonical(self, view: View) -> View:
        """Return ``view`` with each axis written as the one that stands for it."""
        if all(self._parent[axis] == axis for axis in view.axes):
            return view
        return View(
            tuple(
                Dimension(
                    tuple(p if p.axis is None else Part(p.size, self.find(p.axis), p.stride) for p in dim.parts),
                    dim.before,
                    dim.after,
                )
                for dim in view.dims
            )
        )

    def slid(self, view: View | None, dims: Iterable[int], name: str) -> None:
        """Note that a window slides over ``dims`` of the tensor ``name``.

        Each dimension is slid over along the axis of its outermost part; what lies within are channels laid out. Other
        parts are positions as well where their axis leads a dimension, or where a dimension lacks an axis that leads.
        Behind a step that could not be followed, a dimension without an axis may have lost it: that tells nothing.
        """
        dims = tuple(dims)
        self._most = max(self._most, len(dims))
        if view is None:
            return
        if name in self._behind and any(view.dims[d].size != 1 and not view.dims[d].axes for d in dims):
            return
        spatial = [view.dims[d].spatial for d in dims]
        if name not in self._behind:
            self._stands.update((dims, d, parts[0].axis) for d, parts in zip(dims, spatial, strict=True) if parts)
        leading = [parts[0] for parts in spatial if parts]
        axes = [part.axis for part in leading]
        wide = sum(view.dims[d].size != 1 for d in dims)
        whole = {part.axis for parts in spatial for part in parts[1:] if part.axis in axes or len(set(axes)) < wide}
        for part, axis in zip(leading, axes, strict=True):
            assert axis is not None
            outermost = part.reach == view.extent(axis)
            span = WHOLE if outermost and axes.count(axis) == 1 else (part.size, part.stride)
            self._slid.setdefault(axis, set()).add(span)
        for axis in whole:
            assert axis is not None
            self._slid.setdefault(axis, set()).add(WHOLE)

    def patched(self, axes: Iterable[int]) -> None:
        """Note that blocks of neighbouring positions along ``axes`` are summed, each for itself."""
        dims = tuple(axes)
        if dims:
            self._patched.append(dims)

    def _count_patches(self) -> None:
        """Take what is cut into patches for slid over: beside windows only what has patches along several axes."""
        windows = self._most > 0
        for axes in self._patched:
            if not windows or len(axes) > 1:  # channels are cut into groups as well
                self._most = max(self._most, len(axes))
                for axis in axes:
                    self._slid.setdefault(axis, set()).add(WHOLE)

    def follow(self, step: Instruction) -> None:
        """Note what comes from steps that could not be followed."""
        if self._behind and not self._behind.isdisjoint([value.name for value in step.inputs]):
            self._behind.add(step.output.name)

    def lost(self, step: Instruction) -> None:
        """Note a step that could not follow the dimensions of its inputs."""
        self._lost.update(value.name for value in step.inputs)
        self._behind.add(step.output.name)

    def _lost_inputs(self) -> set[str]:
        """Return the inputs of which some dimensions could not be followed to the windows behind."""
        lost = set(self._lost)
        for step in reversed(self.program.instructions):
            if step.output.name in lost:
                lost.update(value.name for value in step.inputs)
        return lost

    def layout(self) -> Layout:
        """Return what was found.

        Raises
        ------
        ModelFileError
            If nothing slides over anything.
        """
        self._count_patches()
        if not self._most:
            inputs = ", ".join(f"{value.name} {text(value.shape)}" for value in self.program.inputs)
            example = next((value for value in self.program.inputs if value.shape), None)
            letters = "" if example is None or example.shape is None else "." * (len(example.shape) - 1)
            hint = f"axes={{{example.name!r}: '{letters}T'}}" if example is not None and letters else "axes="
            raise ModelFileError(
                f"{self.program.name}: it has no convolution, pooling or resize, so that nothing tells which "
                f"dimensions of its inputs are spatial ({inputs}); in such a model, as in a transformer of tokens, an "
                "output reads its own position or all of them; say which are: a letter for each dimension that is an "
                f"axis and a dot for any other, as in {hint}"
            )
        spans: dict[int, set[Span]] = {}
        for axis, slid in self._slid.items():
            spans.setdefault(self.find(axis), set()).update(slid)
        number: dict[tuple[int, Span], int] = {}
        views: dict[str, View | None] = {}
        by_input = [(value, self._spatial(value, spans)) for value in self.program.inputs]
        for value, spatial in sorted(by_input, key=lambda pair: -len(pair[1])):
            taken = {number[key] for _, key in spatial if key in number}
            free = iter([axis for axis in range(len(self._dims)) if axis not in taken])
            for _, key in spatial:
                if key not in number:
                    number[key] = next(free)
            views[value.name] = _view(value, [(d, key[1], number[key]) for d, key in spatial])
        shapes = {value.name: value.shape or () for value in self.program.inputs}
        if not number:  # windows slide over nothing that an input is seen to carry: it may have been lost on the way
            wide = {name for name, shape in shapes.items() if sum(size != 1 for size in shape[1:]) > 1}
            views.update(dict.fromkeys((self._lost_inputs() | wide) & set(views)))
        for value, spatial in by_input:  # nor is it told which is folded into the channels, of several that may be
            some = spatial or (not number and any(size != 1 for size in shapes[value.name]))
            if some and len(spatial) < self._most == len(shapes[value.name]) - 2:
                views[value.name] = None
        used = max(number.values(), default=-1) + 1
        return Layout(used or self._most, views)

    def _spatial(self, value: Value, spans: Mapping[int, set[Span]]) -> Spatial:
        """Return the dimensions of an input that are slid over, with what of them, in order."""
        spatial: Spatial = []
        for axis, (name, d) in enumerate(self._dims):
            if name == value.name:
                group = self.find(axis)
                parts = sorted(spans.get(group, ()), key=lambda span: str(span[1]).rjust(99), reverse=True)
                apart = WHOLE not in parts and _split((value.shape or ())[d], [(span, 0) for span in parts]) is not None
                spatial += [(d, (group, span)) for span in (parts if apart or not parts else [WHOLE])]
        return self._completed(value, spatial)

    def _completed(self, value: Value, spatial: Spatial) -> Spatial:
        """Return the dimensions of an input that are slid over with those that are folded into channels before.

        A window of as many dimensions as the input has beside batch and channels slides over all of them, which follow
        each other. Where those that are left may be the first or the last, it is told by a window that slides over them
        as they stand in the input.
        """
        found = {d: group for d, (group, span) in spatial if span == WHOLE}
        rank = len(value.shape or ())
        runs = [range(start, start + self._most) for start in (1, 2) if rank == self._most + 2]
        runs = [run for run in runs if found and len(found) == len(spatial) and set(found) <= set(run)]
        if len(runs) > 1:
            stands = {(dims, d, self.find(axis)) for dims, d, axis in self._stands if axis is not None}
            runs = [run for run in runs if stands >= {(tuple(run), d, group) for d, group in found.items()}]
        if len(runs) != 1:
            return spatial
        run = runs[0]
        start = self._dims.index((value.name, 0))
        return [(d, (found.get(d, self.find(start + d)), WHOLE)) for d in run]


def _view(value: Value, spatial: Sequence[tuple[int, Span, int]]) -> View | None:
    if value.shape is None:
        return None
    dims = [other(size) for size in value.shape]
    for d, size in enumerate(value.shape):
        here = [(span, axis) for place, span, axis in spatial if place == d]
        if len(here) == 1 and here[0][0] == WHOLE:
            dims[d] = along(here[0][1], size)
        elif here:
            dims[d] = _split(size, here) or dims[d]
    return View(tuple(dims))


def _split(size: Dim, spans: Sequence[tuple[Span, int]]) -> Dimension | None:
    """Return a dimension that holds several axes, as flat images do: the gaps between them are channels.

    ``None`` where they do not lie in it as they are, as those of which rows were taken twice do not.
    """
    parts: list[Part] = []
    left = size
    for (extent, stride), axis in spans:
        before = exact_quotient(left, extent * stride)
        if before is None:
            return None
        parts += [Part(before)] if before != 1 else []
        parts.append(Part(extent, axis))
        left = stride
    return Dimension((*parts, *([Part(left)] if left != 1 else [])))

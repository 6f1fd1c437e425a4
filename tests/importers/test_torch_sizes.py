"""Sizes that a saved PyTorch program takes: those at which it runs once it is loaded, guards and all."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

import rfgraph  # noqa: E402
from rfgraph.importers.program.dimensions import symbol  # noqa: E402
from rfgraph.importers.torch.guards import guards_of  # noqa: E402

nn, F = torch.nn, torch.nn.functional
SIZES = range(1, 40)


class Of(nn.Module):
    """A function of the map of a convolution."""

    def __init__(self, function, stride=1):
        super().__init__()
        self.first, self.function = nn.Conv1d(2, 2, 3, stride, 1), function

    def forward(self, x):
        return self.function(self.first(x))


def rolled(x):
    return torch.cat([x[..., -3:], x[..., :-3]], 2)


def blocks(x):
    return x.reshape(1, 2, x.shape[2] // 3, 3).mean(3)


#: Modules, and whether the sizes of what is saved of them are told.
MODULES = {
    "plain": (Of(F.relu, 2), True),
    "half as large again": (Of(lambda x: F.interpolate(x, scale_factor=1.5)), True),
    "to its skip": (Of(lambda x: x + F.interpolate(F.avg_pool1d(x, 3, 2), x.shape[2:]), 2), True),
    "odd only": (Of(lambda x: x[..., ::2][..., :-1] + x[..., 1::2]), True),
    "rolled": (Of(rolled), True),
    "blocks": (Of(blocks), True),
}


def runs(module, n):
    try:
        with torch.no_grad():
            return module(torch.zeros(1, 2, n)).numel() > 0
    except Exception:
        return False


@pytest.mark.parametrize("name", MODULES)
def test_sizes_of_a_saved_program_are_those_at_which_it_runs(name, tmp_path):
    module, is_told = MODULES[name]
    example = next(n for n in (20, 21, 24) if runs(module, n))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(
            module, (torch.zeros(1, 2, example),), dynamic_shapes=({2: torch.export.Dim.AUTO},), strict=False
        )
    torch.export.save(program, path := tmp_path / "model.pt2")
    loaded = torch.export.load(path).module()
    expected = [n for n in SIZES if runs(loaded, n)]
    for model in (str(path), program):
        (sizes,) = rfgraph.analyze(model).input_sizes
        assert (sizes is not None) == is_told
        if sizes is not None:
            assert [n for n in SIZES if n in sizes] == expected


#: Functions of the map of a convolution, one that is taken of live modules for any size.
LIVE = {
    "pool": lambda x: F.max_pool1d(x, 3, 2),
    "pool with indices": lambda x: F.max_pool1d(x, 2, return_indices=True)[0],
    "rounded up": lambda x: F.max_pool1d(x, 3, 2, 1, ceil_mode=True),
    "of an end": lambda x: torch.cat([x, F.linear(x[..., 4:].transpose(1, 2), torch.ones(2, 2)).transpose(1, 2)], 2),
    "sum of an end": lambda x: x + x[..., 4:].sum(2, keepdim=True),
    "product of an end": lambda x: x + x[..., 4:] @ x[..., 4:].transpose(1, 2) @ torch.ones(2, 1),
}


@pytest.mark.parametrize("name", LIVE)
def test_sizes_of_a_live_module_are_those_at_which_it_runs(name):
    module = Of(LIVE[name])
    (sizes,) = rfgraph.analyze(module, example=(1, 2, 20)).input_sizes
    assert [n for n in SIZES if n in sizes] == [n for n in SIZES if runs(module, n)]


def test_of_an_axis_of_one_position_no_one_tells_the_sizes():
    class Beside(nn.Module):
        def forward(self, x):
            return torch.cat([x, F.conv1d(x, torch.ones(2, 2, 2))], 1)[:, :2] if x.shape[2] > 1 else F.relu(x)

    report = rfgraph.analyze(nn.Sequential(nn.Conv1d(2, 2, 1), Beside()), example=(1, 2, 1))
    assert report.input_sizes == (None,)


class AsLargeAs(nn.Module):
    """A transposed convolution that is told how large its map is to be: the exporter cannot trace it for any size."""

    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv1d(2, 2, 3, 2, 1), nn.ConvTranspose1d(2, 2, 3, 2, 1)

    def forward(self, x):
        return self.up(self.down(x), output_size=x.shape[2:]) + x


def test_where_no_one_tells_the_sizes_of_inputs_no_one_tells_those_of_maps():
    report = rfgraph.analyze(AsLargeAs(), example=(1, 2, 16))
    assert (report.input_sizes, report.map_size_of("add")) == ((None,), (None,))
    assert AsLargeAs()(torch.zeros(1, 2, 17)).shape == (1, 2, 17)


@pytest.mark.parametrize("forward", [lambda *x: x[0] + x[1], lambda x, *rest: x + rest[0]], ids=["all", "rest"])
def test_sizes_of_a_module_that_takes_any_number_of_arguments(forward):
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(2, 2, 3)

        def forward(self, *x):
            return self.conv(forward(*x))

    report = rfgraph.analyze(Sum(), example=[(1, 2, 16)] * 2, source="x_0")
    assert str(report.input_sizes[0]) == "any size from 3"


NUMBERS = st.integers(0, 9)


@st.composite
def formulas(draw, depth=3):
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(["L['x'].size()[2]", "L['x'].size()[3]", "L['y']['of'][0].size()[1]", "3", "7"]))
    one, other = draw(formulas(depth=depth - 1)), draw(formulas(depth=depth - 1))
    form = draw(st.sampled_from(["({} + {})", "({} * {})", "({} // {})", "({} % {})", "max({}, {})", "(-{} - {})"]))
    return form.format(one, other)


@given(formulas(), st.sampled_from(["==", "!=", "<", ">=", ">"]), formulas(), NUMBERS, NUMBERS)
def test_guards_say_what_python_says(one, op, other, h, k):
    text = f"{one} {op} {other} or not {one} <= {other}"
    shapes = {"x": (1, 2, symbol("H"), 5), "y_of_0": (1, symbol("K"))}

    class Sized:
        def __init__(self, *shape):
            self.size = lambda: shape

    try:
        expected = eval(text, {"L": {"x": Sized(1, 2, h, 5), "y": {"of": [Sized(1, k)]}}})
    except ZeroDivisionError:
        expected = False
    for guard in guards_of([text], shapes):
        assert guard.names <= {"H", "K"}
        assert guard.holds({"H": h, "K": k}) == expected


@pytest.mark.parametrize(
    "text", ["__import__('os').sized(L['x'].size()[2])", "L['x'].size()[2] **", "L['z'].size()[0] == 3", "-" * 5000]
)
def test_a_guard_that_is_not_followed_holds_for_no_one_knows_which(text):
    (guard,) = guards_of([text], {"x": (1, 2, symbol("H"))})
    assert (guard.names, guard.holds) == (frozenset({"H"}), None)

"""Which findings are looked at and which are accepted, by options or in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from rfgraph.errors import PolicyError
from rfgraph.policy import Policy, judge
from rfgraph.questions.budget import Budget
from rfgraph.questions.findings import RULES, Finding
from rfgraph.settings import Settings, read_settings

FOUND = [
    Finding("RF001", "a", ("y",)),
    Finding("RF002", "scope:0/add", ("y",)),
    Finding("RF006", "b[1]", ("y", "x")),
    Finding("RF008", 7, ("x",)),
]


def rules(policy: Policy) -> list[str]:
    return [finding.rule for finding in judge(FOUND, policy).findings]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(), ["RF001", "RF002", "RF006", "RF008"]),
        (Policy(select=("RF001", "RF008")), ["RF001", "RF008"]),
        (Policy(select=("RF00",), ignore=("RF006",)), ["RF001", "RF002", "RF008"]),
        (Policy(ignore=("RF",)), []),
        (Policy(select=()), []),
    ],
)
def test_rules_are_selected_and_ignored_by_what_they_begin_with(policy: Policy, expected: list[str]) -> None:
    judged = judge(FOUND, policy)
    assert [finding.rule for finding in judged.findings] == expected
    assert [finding.rule for finding in judged.left_out] == [f.rule for f in FOUND if f.rule not in expected]


@pytest.mark.parametrize(
    ("entry", "nodes"),
    [
        ("RF002:scope:0/add", ["scope:0/add"]),  # a name may hold colons
        ("RF002:scope*", ["scope:0/add"]),
        ("RF002:add", []),
        ("RF001:scope*", []),
        ("RF006:b[1]", ["b[1]"]),  # and what a pattern would take for its own
        ("RF:*", ["a", "scope:0/add", "b[1]", 7]),
        ("RF008:7", [7]),
        ("RF002:SCOPE*", []),
    ],
)
def test_accepted_findings(entry: str, nodes: list[str | int]) -> None:
    judged = judge(FOUND, Policy(accept=(entry,)))
    assert [finding.node for finding, _ in judged.accepted] == nodes
    assert {by for _, by in judged.accepted} <= {entry}
    assert [finding for finding in FOUND if finding.node not in nodes] == list(judged.open)
    assert judged.findings == tuple(FOUND)
    assert judged.idle == (() if nodes else (entry,))


def test_the_first_entry_counts_and_no_entry_is_idle_that_is_about_a_finding() -> None:
    judged = judge(FOUND, Policy(accept=("RF001:a", "RF001:*", "RF003:a", "RF003:a")))
    assert [by for _, by in judged.accepted] == ["RF001:a"]
    assert judged.idle == ("RF003:a",)
    assert judge(FOUND, Policy(ignore=("RF001",), accept=("RF001:a",))).idle == ()


@pytest.mark.parametrize("option", ["select", "ignore", "accept"])
@pytest.mark.parametrize("rule", ["RF999", "rf001", "RF0011", "F", " RF001"])
def test_unknown_rules_are_named_beside_the_known_ones(option: str, rule: str) -> None:
    entry = f"{rule}:add" if option == "accept" else rule
    with pytest.raises(PolicyError, match=f"{option}: '{rule}' is no rule and begins none") as caught:
        Policy(**{option: (entry,)})
    for known, about in RULES.items():
        assert f"{known} ({about.title})" in str(caught.value)


def test_an_empty_rule_selects_nothing_by_accident() -> None:
    with pytest.raises(PolicyError, match="select: '' is no rule"):
        Policy(select=("RF001", ""))


@pytest.mark.parametrize("entry", ["RF002", "RF002:", ":add", ""])
def test_what_to_accept_needs_a_rule_and_a_node(entry: str) -> None:
    with pytest.raises(PolicyError, match=f"accept: '{entry}' does not say what to accept where; write RULE:NODE"):
        Policy(accept=(entry,))


# Settings


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_settings_are_those_of_the_nearest_file(tmp_path: Path) -> None:
    write(tmp_path, '[tool.rfgraph]\nselect = ["RF00"]\nignore = ["RF006"]\naccept = ["RF002:a*"]\nfail-on = "error"\n')
    inner = tmp_path / "one" / "two"
    inner.mkdir(parents=True)
    expected = Settings(Policy(("RF00",), ("RF006",), ("RF002:a*",)), "error")
    assert read_settings(tmp_path) == read_settings(inner) == expected
    write(tmp_path / "one", "[project]\nname = 'other'\n")
    assert read_settings(inner) == Settings()
    write(inner, '[tool.rfgraph]\nfail-on = "note"\n')
    assert read_settings(inner) == Settings(fail_on="note")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.rfgraph\n", r"pyproject\.toml: it is not TOML \("),
        ("a = " + "[" * 100_000, r"pyproject\.toml: it is not TOML \("),
        ("[tool]\nrfgraph = 3\n", r"pyproject\.toml, \[tool\.rfgraph\]: it is not a table"),
        (
            "[tool.rfgraph]\nfail_on = 'note'\n",
            r"'fail_on' is no key of it \(near: fail-on\); there are select, ignore",
        ),
        ("[tool.rfgraph]\ncolour = 1\n", "'colour' is no key of it; there are select, ignore, accept, fail-on"),
        ("[tool.rfgraph]\nselect = 'RF001'\n", "select: 'RF001' is not a list of strings"),
        ("[tool.rfgraph]\naccept = [1]\n", r"accept: \[1\] is not a list of strings"),
        ("[tool.rfgraph]\nfail-on = 'never'\n", "fail-on: 'never' is not one of note, warning, error"),
        ("[tool.rfgraph]\nfail-on = []\n", r"fail-on: \[\] is not one of note, warning, error"),
        ("[tool.rfgraph]\nignore = ['RF9']\n", r"\[tool\.rfgraph\]: ignore: 'RF9' is no rule and begins none"),
        ("[tool.rfgraph]\naccept = ['RF001']\n", r"\[tool\.rfgraph\]: accept: 'RF001' does not say what"),
    ],
)
def test_settings_that_cannot_be_read(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, text)
    with pytest.raises(PolicyError, match=said) as caught:
        read_settings(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_settings_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match="it is not TOML"):
        read_settings(tmp_path)


@pytest.mark.parametrize("text", ["", "tool = 1\n", "[tool]\n", "[tool.other]\nselect = 3\n"])
def test_files_without_settings(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    assert read_settings(tmp_path) == Settings()


# What a project says of how its models are read, and of some alone.


def project(folder: Path, text: str) -> Settings:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return read_settings(folder)


def test_a_project_says_how_its_models_are_read(tmp_path: Path) -> None:
    settings = project(
        tmp_path,
        '[tool.rfgraph]\ninput-size = [224, 320]\nalignment = ["causal", "center"]\ncausal = "t"\n'
        'treat = {"Grid*" = "identity"}\n'
        "budget = {min-r = 9, max-look-ahead = 0, max-parameters = 5, tile-multiple = 8}",
    )
    assert settings == Settings(
        input_size=(224, 320), alignment=("causal", "center"), causal="t", treat={"Grid*": "identity"},
        budget=Budget(min_r=9, max_look_ahead=0, max_parameters=5, tile_multiple=8),
    )  # fmt: skip
    assert settings.budget.rules == ("RF011", "RF012", "RF013", "RF014")
    assert Budget().rules == ()
    assert project(tmp_path, "[tool.rfgraph.input-size]\nleft = 64\nright = [8, 9]").input_size == {
        "left": 64,
        "right": (8, 9),
    }


def test_what_is_said_of_one_model_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = project(
        tmp_path,
        '[tool.rfgraph]\ninput-size = 224\nignore = ["RF006"]\naccept = ["RF002:a"]\ntreat = {"*" = "cut"}\n'
        "budget = {min-r = 9, max-parameters = 5}\n"
        '[tool.rfgraph.models."audio/*.onnx"]\ninput-size = 16000\nignore = []\naccept = ["RF003:b"]\n'
        'treat = {"g" = "global"}\nbudget = {min-r = 1}\n'
        '[tool.rfgraph.models."zoo:*"]\ncausal = "x"\n',
    )
    own = settings.of("audio/a.onnx")
    assert (own.input_size, own.policy.ignore, own.policy.accept) == (16000, (), ("RF002:a", "RF003:b"))
    assert list(own.treat.items()) == [("g", "global"), ("*", "cut")]  # the first that fits counts
    assert own.budget == Budget(min_r=1, max_parameters=5)
    for other in ("a.onnx", "audio/a.keras"):
        assert settings.of(other) == settings
    assert settings.of("zoo:vgg_16").causal == "x"
    inner = tmp_path / "audio"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert settings.of("a.onnx").input_size == 16000  # by its path from the project's folder
    assert settings.of(str(inner / "a.onnx")).input_size == 16000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inputsize = 3", r"'inputsize' is no key of it \(near: input-size\); there are select, "),
        ("input-size = 0", "input-size: 0 is no size; write 224"),
        ("input-size = [3, true]", r"input-size: \[3, True\] is no size"),
        ("input-size = {x = 1.5}", "input-size: 1.5 is no size"),
        ('alignment = "centre"', r"alignment: 'centre' is not one of auto, center, causal \(near: center\)"),
        ("alignment = [1]", "alignment: 1 is not one of"),
        ("causal = 0", "causal: 0 is not the name of an axis"),
        ('treat = "x"', "treat: 'x' is not a table of patterns"),
        ('treat = {a = "identiti"}', r"treat: 'a' is 'identiti', .* \(near: identity\)"),
        ("budget = 3", "budget: 3 is not a table"),
        ("budget = {min_r = 3}", r"budget: 'min_r' is no key of it \(near: min-r\); there are min-r, max-look-ahead"),
        ("budget = {min-r = -1}", "budget: min-r -1 is not an integer from 0 up"),
        ("budget = {tile-multiple = 0}", "budget: tile-multiple 0 is not an integer from 1 up"),
        ("budget = {max-parameters = true}", "budget: max-parameters True is not an integer"),
        ("models = 3", "models: it is not a table"),
        ('models = {"a*" = 3}', r"\[tool.rfgraph.models.'a\*'\]: it is not a table"),
        ('models = {"a*" = {fail-on = "note"}}', r"\[tool.rfgraph.models.'a\*'\]: 'fail-on' is no key of it"),
        (
            'models = {"a*" = {budget = {min-rr = 1}}}',
            r"models.'a\*'\]: budget: 'min-rr' is no key of it \(near: min-r\)",
        ),
    ],
)
def test_what_a_project_says_wrongly_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message) as caught:
        project(tmp_path, f"[tool.rfgraph]\n{text}")
    assert str(caught.value).startswith(f"{tmp_path / 'pyproject.toml'}, [tool.rfgraph")

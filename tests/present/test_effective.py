"""What is shown of effective fields."""

from __future__ import annotations

import json

import numpy as np
import pytest

import rfgraph
from rfgraph import cli
from rfgraph.models import ACCURACIES, ARTICLE, MODELS


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(arguments) == 0
    return capsys.readouterr().out


def test_summary_has_a_column_of_effective_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert "effective" not in run(capsys, "summary", "zoo:vgg_16")
    table = run(capsys, "summary", "zoo:vgg_16", "--effective")
    row = next(line for line in table.splitlines() if "conv1/conv1_2" in line)
    assert "1.155" in row  # sqrt(2 * 2/3)
    assert "~" in next(line for line in table.splitlines() if "vgg_16/pool1 " in line)
    assert "effective ~ approximate at 'vgg_16/pool1'" in " ".join(table.split())
    document = json.loads(run(capsys, "summary", "zoo:vgg_16", "--effective", "--format", "json"))
    size = document["layers"][2]["effective"]
    assert size["std"] == pytest.approx([(4 / 3) ** 0.5] * 2)
    assert (size["status"], size["mass"], size["phases"]) == ("exact", 1, [1, 1])
    header, *rows = run(capsys, "summary", "zoo:vgg_16", "--effective", "--format", "csv").splitlines()
    cells = dict(zip(header.split(","), rows[2].split(","), strict=True))
    assert float(cells["effective_std_y"]) == pytest.approx((4 / 3) ** 0.5)
    assert cells["effective_status"] == "exact"


FIELD = ("field", "zoo:vgg_16", "vgg_16/conv2/conv2_2")


def test_field_shows_figures_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    said = run(capsys, *FIELD, "--weights", "uniform")
    row = next(line for line in said.splitlines() if line.startswith("y "))
    field = rfgraph.analyze("zoo:vgg_16").effective_field("vgg_16/conv2/conv2_2", weights="uniform")
    assert row.split() == ["y", "14", "-6", "7", "0.5", f"{field.std[0]:.4g}"]
    text = " ".join(said.split())
    assert "g, g the gradient; no borders" in text
    assert f"50% in {field.side(0.5)}" in text
    assert "approximate: node 'vgg_16/pool1' (max_pool) is taken to pick" in text


def test_field_for_programs_and_as_an_array(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    arguments = (*FIELD, "--input-size", "224", "--index", "0,5")
    document = json.loads(run(capsys, *arguments, "--format", "json"))
    field = rfgraph.analyze("zoo:vgg_16", 224).effective_field("vgg_16/conv2/conv2_2", (0, 5))
    assert (document["index"], document["first"], document["clipped"]) == ([0, 5], list(field.first), True)
    assert document["map"] == field.map.tolist()
    header, *rows = run(capsys, *arguments, "--format", "csv").splitlines()
    assert header == "y,x,value,share"
    assert len(rows) == field.map.size
    assert sum(float(row.split(",")[3]) for row in rows) == pytest.approx(1)
    run(capsys, *arguments, "-o", str(tmp_path / "map.npy"))
    assert np.array_equal(np.load(tmp_path / "map.npy"), field.map)


def test_field_takes_weights_by_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    given = run(
        capsys, "field", "zoo:vgg_16", "vgg_16/conv1/conv1_1", "--weights", "*conv1_1=0,0,2", "--format", "json"
    )
    assert json.loads(given)["mean"] == [1, 1]
    assert cli.main([*FIELD, "--weights", "random", "--weights", "conv*=uniform"]) == 2
    assert "beside others write PATTERN=random" in capsys.readouterr().err
    assert cli.main([*FIELD, "--index", "112,0", "--input-size", "224"]) == 2
    assert "lies outside its map" in capsys.readouterr().err


def test_accuracy_over_the_size_of_the_field(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(run(capsys, "zoo", "--accuracy", "--format", "json"))
    assert {row["model"] for row in document["models"]} == set(ACCURACIES) <= set(MODELS)
    assert {row["model"] for row in document["models"] if row["plotted"]} == set(ARTICLE)
    for row in document["models"]:
        assert row["size"] == MODELS[row["model"]].published.size
        assert row["source"]
        assert row["macs"] > 0
    whole, without = document["lines"]["article"], document["lines"]["without_alexnet"]
    assert (whole["networks"], without["networks"]) == (10, 9)
    assert [whole["at_1"], whole["per_decade"], whole["r_squared"]] == pytest.approx([0.354, 0.134, 0.69], abs=0.005)
    assert [without["per_decade"], without["r_squared"]] == pytest.approx([0.0847, 0.91], abs=0.005)
    said = " ".join(run(capsys, "zoo", "--accuracy").split())
    assert "top-1 = 0.354 + 0.134 log10 r, R^2 0.69; doubling r goes with 4 points" in said
    header, *rows = run(capsys, "zoo", "--accuracy", "--format", "csv").splitlines()
    assert header == "model,top1,r,macs,input_size,plotted,source"
    assert len(rows) == len(ACCURACIES)

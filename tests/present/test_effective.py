"""What is shown of effective fields."""

from __future__ import annotations

import json

import pytest

from rfgraph import cli


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

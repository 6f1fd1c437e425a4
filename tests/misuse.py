"""A command line that cannot be read."""

from __future__ import annotations

import pytest

from rfgraph import cli


def misused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command whose arguments cannot be read, and return what is said of it."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err

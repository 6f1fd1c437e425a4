"""The parser of the command line: what it says of options and commands that there are not."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence

#: What people call an option in other tools -> what it is called here.
ALIASES = {
    **dict.fromkeys(
        ("--input-shape", "--shape", "--size", "--img-size", "--image-size", "--imgsz", "--resolution", "--input-res"),
        "--input-size",
    ),
    "--out": "-o",
    "--output-file": "-o",
    "--fmt": "--format",
    "--fields": "--columns",
    "--cols": "--columns",
    "--layers": "--depth",
    "--silent": "--quiet",
}


class Parser(argparse.ArgumentParser):
    """A parser that takes negative indices for arguments and not for options, and names the nearest option."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # type: ignore[arg-type]
        self._negative_number_matcher = re.compile(r"-\d+(,-?\d+)*$")

    def refuse_unknown(self, arguments: Sequence[str]) -> None:
        """End with the usage of this command where ``arguments`` have options that it has not.

        Raises
        ------
        SystemExit
            With code 2.
        """
        known = self._option_string_actions
        for argument in arguments:
            if argument == "--":
                return
            name = argument.partition("=")[0]
            if name.startswith("--") and name not in known:
                self.error(f"unrecognized arguments: {name}{nearest(name, known, ALIASES)}")


def nearest(name: str, known: Iterable[str], aliases: dict[str, str] | None = None) -> str:
    """Return which of ``known`` may be meant by ``name``, as a question, "" if none is near.

    Examples
    --------
    >>> nearest("--input_size", ["--input-size", "--format"]), nearest("sumary", ["summary", "sizes"])
    ('; do you mean --input-size?', '; do you mean summary?')
    """
    from difflib import get_close_matches

    known = list(known)
    spelt = name.lower().replace("_", "-")
    meant = (aliases or {}).get(spelt, spelt)
    close = [meant] if meant in known else get_close_matches(spelt, known, 1, 0.7)
    return f"; do you mean {close[0]}?" if close else ""

"""A line on the terminal while something takes long: what is done, and for how long. It is gone afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import Any

#: Seconds of silence before the line is shown.
PATIENCE = 2.0


class Line:
    """The line on the standard error, if that is a terminal; drawn by rich, which is imported when it is needed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._said = ""
        self._shown: Any = None
        self._task: Any = None

    def say(self, text: str) -> None:
        """Say what is done now."""
        with self._lock:
            self._said = text
            if self._shown is not None:
                self._shown.update(self._task, description=text)

    def show(self) -> None:
        """Show the line."""
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.table import Column
        from rich.text import Text

        class About(TextColumn):
            def render(self, task: Any) -> Text:
                return Text(task.description)  # no name is taken for markup

        about, elapsed = (Column(no_wrap=True, overflow="crop") for _ in range(2))  # no dots: an encoding may lack them
        columns = SpinnerColumn("line"), About("", table_column=about), TimeElapsedColumn(table_column=elapsed)
        with self._lock:
            self._shown = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._shown.add_task(self._said)
            self._shown.start()

    def clear(self) -> None:
        """Take the line away."""
        with self._lock:
            if self._shown is not None:
                self._shown.stop()
                self._shown = None


_current: Line | None = None


def doing(text: str) -> None:
    """Say what is done now, for the line if there is one."""
    if _current is not None:
        from rfgraph.present.rows import printable

        _current.say(printable(text))


@contextmanager
def progress_line(quiet: bool) -> Iterator[None]:
    """Show a line after ``PATIENCE`` seconds, unless ``quiet`` or where the standard error is no terminal."""
    global _current
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    line = _current = Line()
    timer = Timer(PATIENCE, line.show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        _current = None
        timer.cancel()
        timer.join()
        line.clear()

"""Where answers go, and what stops them: files whole or not there, outputs that close, signals, terminals."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rfgraph import cli
from rfgraph.cli import writing

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals, modes and terminals of POSIX")

RUN = [sys.executable, "-m", "rfgraph"]

#: Runs a command that waits before it answers, and says so.
SLOW = """
import sys, time
from rfgraph import cli
from rfgraph.cli import commands, progress
wait, progress.PATIENCE = float(sys.argv.pop()), float(sys.argv.pop())
def slow(options, run=commands.COMMANDS["zoo"]):
    progress.doing("waiting for [bold]it")
    print("ready", file=sys.stderr, flush=True)
    time.sleep(wait)
    return run(options)
commands.COMMANDS["zoo"] = slow
sys.exit(cli.run())
"""


@pytest.fixture
def umask() -> Iterator[int]:
    old = os.umask(0o027)
    yield 0o027
    os.umask(old)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_has_the_mode_of_the_umask_or_keeps_its_own(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "out.json"
    writing.write_file(str(path), b"one")
    assert mode(path) == 0o666 & ~umask
    path.chmod(0o604)
    link = tmp_path / "link.json"
    link.symlink_to(path)
    writing.write_file(str(link), b"two")
    assert (path.read_bytes(), mode(path), link.is_symlink()) == (b"two", 0o604, True)
    assert sorted(os.listdir(tmp_path)) == ["link.json", "out.json"]


def test_what_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.json"
    path.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        writing.write_file(str(path), b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.json"]


def test_devices_and_pipes_are_written_as_they_are(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["zoo", "-o", "/dev/stdout"]) == 0
    assert capfd.readouterr().out.startswith("model ")
    assert cli.main(["zoo", "-o", "/dev/null"]) == 0
    assert cli.main(["zoo", "-o", str(tmp_path / "no" / "such" / "folder")]) == 2
    assert capfd.readouterr().err == f"rfgraph: {tmp_path}/no/such/folder: No such file or directory\n"


def test_a_terminated_command_leaves_nothing_and_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")
    for sent, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        command = [sys.executable, "-c", SLOW, "zoo", "-o", str(path), "60", "60"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert process.stderr.readline() == "ready\n"
            process.send_signal(sent)
            assert process.stderr.read() == ""
            assert process.wait() == code
        assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["out.json"])


def closed(stream: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a stream closed."""
    command = ["bash", "-c", f'"$@" {stream}', "bash", *RUN, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_streams_that_are_closed(tmp_path: Path) -> None:
    done = closed(">&-", "zoo")
    assert (done.returncode, done.stderr) == (
        2,
        "rfgraph: the standard output is closed; open it, or write to a file with -o\n",
    )
    path = tmp_path / "zoo.json"
    assert closed(">&-", "zoo", "-o", str(path)).returncode == 0
    assert json.loads(path.read_text())["command"] == "zoo"
    done = closed("2>&-", "summary", "missing.onnx")
    assert (done.returncode, done.stdout) == (2, "")
    done = closed("<&-", "summary", "-")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("rfgraph: the standard input is closed")


def test_help_into_a_pipe_that_closes() -> None:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", '"$@" --help | true', "bash", *RUN], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def on_terminal(command: list[str], **environment: str) -> tuple[str, int]:
    """Run a command whose streams are a terminal of 80 columns; return what it showed, and its exit code."""
    import pty

    ours, theirs = pty.openpty()
    settings = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    settings |= {"TERM": "xterm-256color", "COLUMNS": "80", **environment}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=settings) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                got = os.read(ours, 1 << 16)
            except OSError:
                break
            if not got:
                break
            shown += got
        process.wait()
    os.close(ours)
    return shown.decode().replace("\r\n", "\n"), process.returncode


def test_what_takes_long_shows_a_line_that_goes_away() -> None:
    shown, code = on_terminal([sys.executable, "-c", SLOW, "zoo", "0.1", "0.6"])
    assert code == 0
    line = shown.index("waiting for [bold]it")
    assert line < shown.index("\x1b[2K") < shown.index("model ")  # cleared before the answer is there
    for arguments in (["zoo", "--quiet", "0.1", "0.4"], ["zoo", "60", "0"]):
        shown, code = on_terminal([sys.executable, "-c", SLOW, *arguments])
        assert code == 0
        assert "waiting" not in shown
    done = subprocess.run([sys.executable, "-c", SLOW, "zoo", "0.1", "0.3"], capture_output=True, text=True)
    assert done.stderr == "ready\n"


def test_colours_are_a_matter_of_the_environment() -> None:
    command = [*RUN, "summary", "zoo:unet"]
    shown, _ = on_terminal(command)
    assert "\x1b[1m" in shown
    plain = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "\x1b" not in plain
    forced = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "FORCE_COLOR": "1"}
    ).stdout
    assert "\x1b[1m" in forced
    assert "reach" in forced  # it is coloured, and complete as ever
    shown, _ = on_terminal([*RUN, "check", "zoo:unet"], NO_COLOR="1")
    codes = {code for met in re.findall(r"\x1b\[([0-9;]*)m", shown) for code in met.split(";")}
    assert codes <= {"0", "1", "2"}


def test_an_encoding_without_dots() -> None:
    command = [sys.executable, "-X", "utf8=0", "-m", "rfgraph", "summary", "zoo:densenet_121"]
    shown, code = on_terminal(command, PYTHONIOENCODING="ascii", COLUMNS="40")
    assert code == 0
    assert "~" in shown
    assert "\\u2026" not in shown


def test_the_line_of_progress_keeps_to_ascii() -> None:
    """It is shown at once, in a terminal too narrow for it and in a wide one."""
    impatient = "import sys, rfgraph.cli.progress as line; line.PATIENCE = 0; import rfgraph.cli as cli; "
    command = [sys.executable, "-c", impatient + "sys.exit(cli.main(['summary', 'zoo:densenet_121']))"]
    for columns in ("40", "120"):
        shown, code = on_terminal(command, PYTHONIOENCODING="ascii", COLUMNS=columns)
        assert code == 0
        assert "\x1b[?25l" in shown  # the line was there
        assert "\\u" not in shown.replace("\\u2500", "")

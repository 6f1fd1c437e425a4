"""A folder that one process writes at a time: the system holds the lock, and lets go whatever ends the process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rfgraph.errors import SweepError

LOCK = ".lock"


def _system() -> Any:
    """Return what locks files here, ``None`` on systems without."""
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows: results are whole even so, but may be worked out twice
        return None
    return fcntl


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, for the only process that writes into it.

    Raises
    ------
    SweepError
        If another process holds it; its number is told.
    """
    system = _system()
    if system is None:
        yield
        return
    path = folder / LOCK
    handle = _locked(system, path)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held: whoever waits for this file looks whether it is still there
        os.close(handle)


def _locked(system: Any, path: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            system.flock(handle, system.LOCK_EX | system.LOCK_NB)
        except OSError:
            holder = os.read(handle, 20).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise SweepError(
                f"{path.parent} is being written by another process ({holder}); wait for it, or give a new folder"
            ) from None
        try:
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)  # another process has let go of it, and taken it away

"""Results on disk: one file per chunk, and a manifest that says of which sweep they are.

A chunk is written beside its place and renamed into it, so that it is there whole or not at all: a sweep that is
stopped, or killed, goes on with the chunks that are missing. Files hold arrays only; nothing in them is ever run.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from rfgraph.errors import MissingExtraError, SweepError
from rfgraph.sweeps.columns import PER_AXIS, PER_NODE, Columns, restored, written
from rfgraph.sweeps.search import Counts

Form = Literal["npz", "parquet"]

MANIFEST = "manifest.json"

#: Raised when chunks are cut, or files laid out, in another way.
LAYOUT = 1


@dataclass(frozen=True)
class Folder:
    """A folder with the results of one sweep.

    Parameters
    ----------
    path
        Where it is.
    fingerprint
        Of which sweep.
    about
        What else the manifest tells, for people and programs.
    form
        Whether chunks are NumPy's ``.npz`` or Parquet.
    shape
        How many nodes and axes there are.
    """

    path: Path
    fingerprint: str
    about: dict[str, Any]
    form: Form
    shape: tuple[int, int]

    def open(self) -> None:
        """Make the folder, or check that it is of this sweep.

        Raises
        ------
        SweepError
            If it holds something else.
        """
        if self.form not in get_args(Form):
            raise SweepError(f"chunks cannot be written as {self.form!r}; write {' or '.join(get_args(Form))}")
        if self.form == "parquet":
            _pyarrow()
        manifest = self.path / MANIFEST
        if not manifest.exists():
            if self.path.exists() and any(self.path.iterdir()):
                raise SweepError(f"{self.path} has files in it that are of no sweep; give a new folder, or empty it")
            self.path.mkdir(parents=True, exist_ok=True)
            said = {"layout": LAYOUT, "sweep": self.fingerprint, "format": self.form, **self.about}
            self._write(manifest, lambda path: path.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8"))
            return
        try:
            stated = json.loads(manifest.read_text(encoding="utf-8"))
            same = (stated["layout"], stated["sweep"], stated["format"]) == (LAYOUT, self.fingerprint, self.form)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SweepError(f"{manifest} is no manifest of a sweep ({error}); give a new folder") from None
        if not same:
            raise SweepError(
                f"{self.path} holds another sweep: its graph, choices, conditions or format differ; give a new folder"
            )

    def _file(self, chunk: int) -> Path:
        return self.path / f"chunk-{chunk:09d}.{self.form}"

    def has(self, chunk: int) -> bool:
        """Return whether a chunk is there and whole."""
        if not self._file(chunk).exists():
            return False
        try:
            self.read(chunk)
        except SweepError:
            return False
        return True

    def write(self, chunk: int, columns: Columns, counts: Counts) -> None:
        """Write a chunk."""
        numbers = np.array([counts.seen, counts.kept, counts.alone, counts.fail], dtype=np.int64)
        if self.form == "npz":
            self._write(self._file(chunk), lambda path: _save_npz(path, {**written(columns), "counts": numbers}))
        else:
            self._write(self._file(chunk), lambda path: _save_parquet(path, written(columns), numbers))

    def read(self, chunk: int) -> tuple[Columns, Counts]:
        """Return what is in a chunk.

        Raises
        ------
        SweepError
            If it cannot be read.
        """
        path = self._file(chunk)
        try:
            stored = _load_npz(path) if self.form == "npz" else _load_parquet(path, self.shape)
            counts = Counts(*stored.pop("counts").tolist())
            columns = restored(stored)
            rows = len(columns["position"])
            for name, column in columns.items():
                shape = (rows, *(self.shape if name in PER_AXIS else self.shape[:1] if name in PER_NODE else ()))
                if column.shape != shape:
                    raise ValueError(f"{name} has shape {column.shape}, not {shape}")
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
            raise SweepError(f"{path} is damaged ({error}); delete it and run the sweep again") from None
        return columns, counts

    def _write(self, place: Path, write: Callable[[Path], object]) -> None:
        handle, name = tempfile.mkstemp(dir=self.path, prefix=".unfinished-", suffix=place.suffix)
        os.close(handle)
        try:
            write(Path(name))
            with open(name, "rb") as file:
                os.fsync(file.fileno())
            os.replace(name, place)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise

    def chunks(self, count: int) -> Iterator[tuple[Columns, Counts]]:
        """Yield all chunks in order."""
        for chunk in range(count):
            yield self.read(chunk)


def _save_npz(path: Path, arrays: Columns) -> None:
    with open(path, "wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes any keyword for an option


def _load_npz(path: Path) -> Columns:
    with open(path, "rb") as file, np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        raise MissingExtraError("Parquet files need pyarrow; install it: pip install 'rfgraph[parquet]'") from None
    return pyarrow


def _save_parquet(path: Path, columns: Columns, counts: Any) -> None:
    """Write one Parquet column per number: ``r/0/1`` is that of node 0 on axis 1."""
    arrow = _pyarrow()
    flat = {}
    for name, column in columns.items():
        for place in np.ndindex(column.shape[1:]):
            flat["/".join([name, *map(str, place)])] = arrow.array(column[(slice(None), *place)])
    table = arrow.table(flat).replace_schema_metadata({"counts": json.dumps(counts.tolist())})
    arrow.parquet.write_table(table, path)


def _load_parquet(path: Path, shape: tuple[int, int]) -> Columns:
    arrow = _pyarrow()
    try:
        table = arrow.parquet.read_table(path, memory_map=False)
        counts = np.array(json.loads(table.schema.metadata[b"counts"]), dtype=np.int64)
    except (arrow.ArrowException, TypeError) as error:
        raise ValueError(str(error)) from None
    parts: dict[str, dict[tuple[int, ...], Any]] = {}
    for flat in table.column_names:
        name, *place = flat.split("/")
        column = table[flat].to_numpy()
        parts.setdefault(name, {})[tuple(map(int, place))] = column.astype("U") if column.dtype == object else column
    columns: Columns = {"counts": counts}
    for name, places in parts.items():
        if () in places:
            columns[name] = places[()]
            continue
        per = shape if name in PER_AXIS else shape[:1]
        columns[name] = np.stack([places[place] for place in np.ndindex(per)], axis=1).reshape(-1, *per)
    return columns

"""Results on disk: one file per chunk, and a manifest that says of which sweep they are.

A chunk is written beside its place and renamed into it, so that it is there whole or not at all: a sweep that is
stopped, or killed, goes on with the chunks that are missing. Each chunk carries a checksum over its sweep, its number
and all that it holds: one that was damaged, or copied from elsewhere, is worked out anew. Files hold arrays only;
nothing in them is ever run.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from rfgraph.errors import MissingExtraError, Needed, SweepError
from rfgraph.frozen import dataclass
from rfgraph.sweeps.columns import PER_AXIS, PER_NODE, Columns, restored, written
from rfgraph.sweeps.lock import LOCK, held
from rfgraph.sweeps.search import Counts

Form = Literal["npz", "parquet"]

MANIFEST = "manifest.json"

#: Raised when chunks are cut, or files laid out, in another way.
LAYOUT = 2

#: What files that are not finished begin with; those of a process that was killed are cleared.
UNFINISHED = ".unfinished-"


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

    @contextmanager
    def open(self) -> Iterator[None]:
        """Make the folder, or check that it is of this sweep, and hold it: no other process writes into it meanwhile.

        Raises
        ------
        SweepError
            If it holds something else, or another process holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise SweepError(f"{self.path} is no folder; give a new one") from None
        with held(self.path):
            self._check()
            for left in self.path.glob(f"{UNFINISHED}*"):
                with suppress(OSError):
                    left.unlink()
            yield

    def _check(self) -> None:
        """Check that the folder is of this sweep, or empty: then it is from now on."""
        if self.form not in get_args(Form):
            raise SweepError(f"chunks cannot be written as {self.form!r}; write {' or '.join(get_args(Form))}")
        if self.form == "parquet":
            _pyarrow()
        manifest = self.path / MANIFEST
        if not manifest.exists():
            if any(file.name != LOCK and not file.name.startswith(UNFINISHED) for file in self.path.iterdir()):
                raise SweepError(f"{self.path} has files in it that are of no sweep; give a new folder, or empty it")
            said = {"layout": LAYOUT, "sweep": self.fingerprint, "format": self.form, **self.about}
            self._write(manifest, lambda path: path.write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8"))
            return
        try:
            stated = json.loads(manifest.read_text(encoding="utf-8"))
            layout = stated["layout"]
            same = (stated["sweep"], stated["format"]) == (self.fingerprint, self.form)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SweepError(f"{manifest} is no manifest of a sweep ({error}); give a new folder") from None
        if layout != LAYOUT:
            raise SweepError(f"{self.path} was written by another version of rfgraph; give a new folder")
        if not same:
            raise SweepError(
                f"{self.path} holds another sweep: its graph, choices, conditions or format differ; give a new folder"
            )

    def _file(self, chunk: int) -> Path:
        return self.path / f"chunk-{chunk:09d}.{self.form}"

    def stored(self, chunk: int) -> tuple[Columns, Counts] | None:
        """Return what is in a chunk, ``None`` if it is not there or not what was written."""
        if not self._file(chunk).exists():
            return None
        try:
            return self.read(chunk)
        except SweepError:
            return None

    def write(self, chunk: int, columns: Columns, counts: Counts) -> None:
        """Write a chunk."""
        numbers = np.array([counts.seen, counts.kept, counts.alone, counts.fail], dtype=np.int64)
        arrays = {**written(columns), "counts": numbers}
        arrays["checksum"] = np.frombuffer(self._checksum(chunk, arrays), dtype=np.uint8)
        save = _save_npz if self.form == "npz" else _save_parquet
        self._write(self._file(chunk), lambda path: save(path, arrays))

    def _checksum(self, chunk: int, arrays: Columns) -> bytes:
        """Return what only these arrays have, as this chunk of this sweep."""
        digest = hashlib.sha256(f"{LAYOUT} {self.fingerprint} {chunk}".encode())
        for name, array in sorted(arrays.items()):
            if name == "checksum":
                continue
            is_text = array.dtype.kind == "U"
            digest.update(f"\n{name} {'U' if is_text else array.dtype.str} {array.shape}\n".encode())
            digest.update(
                "\n".join(array.ravel().tolist()).encode() if is_text else np.ascontiguousarray(array).tobytes()
            )
        return digest.digest()

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
            if stored["checksum"].tobytes() != self._checksum(chunk, stored):
                raise ValueError("its checksum is another: it was changed, or is no chunk of this place")
            del stored["checksum"]
            counts = Counts(*stored.pop("counts").tolist())
            columns = restored(stored)
            rows = len(columns["position"])
            for name, column in columns.items():
                shape = (rows, *(self.shape if name in PER_AXIS else self.shape[:1] if name in PER_NODE else ()))
                if column.shape != shape:
                    raise ValueError(f"{name} has shape {column.shape}, not {shape}")
        except MissingExtraError:
            raise
        except Exception as error:  # readers of damaged archives raise whatever they like
            raise SweepError(f"{path} is damaged ({error}); delete it and run the sweep again") from None
        return columns, counts

    def _write(self, place: Path, write: Callable[[Path], object]) -> None:
        name = str(self.path / f"{UNFINISHED}{os.getpid()}-{place.name}")
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666))  # the umask says who may read it
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
    with Needed("pyarrow", "a Parquet file", "'rfgraph[parquet]'"):
        import pyarrow
        import pyarrow.parquet
    return pyarrow


def _save_parquet(path: Path, arrays: Columns) -> None:
    """Write one Parquet column per number: ``r/0/1`` is that of node 0 on axis 1."""
    arrow = _pyarrow()
    flat = {}
    told = {name: json.dumps(arrays[name].tolist()) for name in ("counts", "checksum")}
    for name, column in arrays.items():
        if name in told:
            continue
        for place in np.ndindex(column.shape[1:]):
            flat["/".join([name, *map(str, place)])] = arrow.array(column[(slice(None), *place)])
    table = arrow.table(flat).replace_schema_metadata(told)
    arrow.parquet.write_table(table, path)


#: What stands in the metadata of a Parquet file.
_TOLD = {"counts": np.int64, "checksum": np.uint8}


def _load_parquet(path: Path, shape: tuple[int, int]) -> Columns:
    arrow = _pyarrow()
    try:
        table = arrow.parquet.read_table(path, memory_map=False)
        told = {name: json.loads(table.schema.metadata[name.encode()]) for name in ("counts", "checksum")}
    except (arrow.ArrowException, TypeError) as error:
        raise ValueError(str(error)) from None
    parts: dict[str, dict[tuple[int, ...], Any]] = {}
    for flat in table.column_names:
        name, *place = flat.split("/")
        column = table[flat].to_numpy()
        parts.setdefault(name, {})[tuple(map(int, place))] = column.astype("U") if column.dtype == object else column
    columns: Columns = {name: np.array(told[name], dtype=kind) for name, kind in _TOLD.items()}
    for name, places in parts.items():
        if () in places:
            columns[name] = places[()]
            continue
        per = shape if name in PER_AXIS else shape[:1]
        columns[name] = np.stack([places[place] for place in np.ndindex(per)], axis=1).reshape(-1, *per)
    return columns

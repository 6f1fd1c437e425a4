"""The attributes of the root of an HDF5 file, in which Keras 1 and 2 keep the config of a model beside its weights.

The weights are not read.
"""

from __future__ import annotations

import h5py

from rfgraph.importers.spelling import archive


def attribute(path: str, name: str) -> bytes | None:
    """Return an attribute of the root that is one text, ``None`` if there is none of that name.

    Parameters
    ----------
    path
        The file.
    name
        The attribute.

    Raises
    ------
    OSError
        If the file cannot be opened, or is no HDF5 file.
    ValueError
        If the attribute is no text, or one of more than ``archive.MAX_BYTES`` bytes.
    """
    with h5py.File(path, "r", locking=False) as file:
        if name not in file.attrs:
            return None
        stored = file.attrs.get_id(name)
        size = max(stored.get_storage_size(), stored.dtype.itemsize)  # of a text that lies elsewhere, that of a pointer
        if stored.shape != () or size > archive.MAX_BYTES or h5py.check_string_dtype(stored.dtype) is None:
            raise ValueError(f"its {name} is no text, or a longer one than is read")
        text = file.attrs[name]
    text = text.encode() if isinstance(text, str) else bytes(text)
    if len(text) > archive.MAX_BYTES:
        raise ValueError(f"its {name} is a text of {len(text)} bytes, more than {archive.MAX_BYTES}")
    return text

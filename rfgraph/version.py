"""The version, for all rooms: the package itself imports whatever is asked of it."""

from __future__ import annotations

__version__ = "0.1.0"

"""Documents as JSON, in ASCII: no name in it can do anything to a terminal, and each is read back as it was."""

from __future__ import annotations

import json
from typing import Any

from rfgraph.present.rows import Document


def text(document: Document) -> str:
    """Return one JSON document, with a line for each key and for each layer, finding or model."""
    return "{\n" + ",\n".join(f"  {json.dumps(key)}: {_value(value)}" for key, value in document.items()) + "\n}\n"


def _value(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"    {json.dumps(item)}" for item in value) + "\n  ]"
    return json.dumps(value)

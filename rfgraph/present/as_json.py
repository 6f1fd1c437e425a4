"""Documents as JSON, in ASCII: no name in it can do anything to a terminal, and each is read back as it was."""

from __future__ import annotations

import json

from rfgraph.present.rows import Document


def text(document: Document) -> str:
    """Return one JSON document."""
    return json.dumps(document, indent=2) + "\n"

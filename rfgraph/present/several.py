"""What a command shows of several models: one view after the other, and one document of them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from rfgraph.frozen import dataclass
from rfgraph.present.rows import Document, Records, Sheet, View, envelope


@dataclass(frozen=True)
class Several:
    """The views of several models.

    Parameters
    ----------
    command
        The command that shows them.
    views
        Model -> what is shown of it.
    errors
        Model -> why it cannot be read.
    """

    command: str
    views: Mapping[str, View]
    errors: Mapping[str, str] = field(default_factory=dict)

    def sheets(self) -> Sequence[Sheet]:
        """Return a sheet for each model."""
        return [view.sheet() for view in self.views.values()]

    def records(self) -> Records:
        """Return one table with the model in its first column; what a model has no number for is empty."""
        tables = {model: view.records() for model, view in self.views.items()}
        header = list(dict.fromkeys(name for table in tables.values() for name in table.header))
        rows = []
        for model, table in tables.items():
            for row in table.rows:
                cells = dict(zip(table.header, row, strict=True))
                rows.append((model, *(cells.get(name, "") for name in header)))
        return Records(("model", *header), rows)

    def document(self) -> Document:
        """Return it for programs."""
        return {
            **envelope(self.command),
            "models": [view.document() for view in self.views.values()],
            "errors": [{"model": model, "error": error} for model, error in self.errors.items()],
        }

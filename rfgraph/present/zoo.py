"""What ``zoo`` shows: published networks, computed and as published."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from rfgraph.frozen import dataclass
from rfgraph.present.layers import axis_texts, field_texts
from rfgraph.present.rows import Column, Document, Records, Sheet, digits, envelope, number, truth
from rfgraph.questions.layers import Layer
from rfgraph.questions.records import layer_document


@dataclass(frozen=True)
class ZooRow:
    """An end point of a published network: its field as computed, and as published where it was."""

    model: str
    about: str
    input_size: int | None
    layer: Layer
    #: r, S and P, the same on every axis.
    published: tuple[int, int, int] | None = None
    source: str = ""

    @property
    def agrees(self) -> bool | None:
        """Whether what is computed is what was published, ``None`` where nothing was."""
        if self.published is None:
            return None
        return all((w.size, w.stride, w.padding) == self.published for w in self.layer.field if w.is_local) and all(
            window.is_local for window in self.layer.field
        )


@dataclass(frozen=True)
class Zoo:
    """The networks of the zoo."""

    rows: Sequence[ZooRow]

    @cached_property
    def sources(self) -> list[str]:
        """The sources of what was published, in the order in which they are met."""
        return list(dict.fromkeys(row.source for row in self.rows if row.published))

    def sheet(self) -> Sheet:
        """Return it for people."""
        columns = (
            *(Column("model"), Column("end point"), Column("input", "right")),
            *(Column(heading, "right") for heading in ("r", "S", "P")),
            Column("published"),
        )
        rows = []
        for row in self.rows:
            size = "" if row.input_size is None else number(row.input_size)
            for axes, texts in axis_texts(row.layer):
                place = f"{row.layer.name}{'' if len(axes) == len(row.layer.axes) else ' on ' + ', '.join(axes)}"
                rows.append((row.model, place, size, *texts[:3], self._published(row)))
        notes = [f"[{index}] {source}" for index, source in enumerate(self.sources, start=1)]
        notes.append("input: size that r, S and P are given for, where they depend on it")
        return Sheet("", columns, rows, (*notes, "each is a model for the other commands: rfgraph summary zoo:vgg_16"))

    def _published(self, row: ZooRow) -> str:
        if row.published is None:
            return ""
        said = "agrees" if row.agrees else "differs: r {}, S {}, P {}".format(*row.published)
        return f"{said} [{self.sources.index(row.source) + 1}]"

    def records(self) -> Records:
        """Return it for spreadsheets."""
        header = (
            *("model", "about", "end_point", "input_size", "axes", "r", "S", "P"),
            *("published_r", "published_S", "published_P", "agrees", "source"),
        )
        rows = []
        for row in self.rows:
            published = ("", "", "") if row.published is None else tuple(map(str, row.published))
            agrees = "" if row.agrees is None else truth(row.agrees)
            rows.append(
                (
                    *(row.model, row.about, str(row.layer.name), digits(row.input_size), " ".join(row.layer.axes)),
                    *field_texts(row.layer)[:3],
                    *(*published, agrees, row.source),
                )
            )
        return Records(header, rows)

    def document(self) -> Document:
        """Return it for programs."""
        models = []
        for row in self.rows:
            published = None
            if row.published is not None:
                published = {
                    **dict(zip(("size", "stride", "padding"), row.published, strict=True)),
                    "agrees": row.agrees,
                    "source": row.source,
                }
            models.append(
                {
                    "model": row.model,
                    "about": row.about,
                    "input_size": row.input_size,
                    "layer": layer_document(row.layer),
                    "published": published,
                }
            )
        return {**envelope("zoo"), "models": models}

"""What ``latency`` shows: how long a network waits, what chunks it takes, and what every layer keeps between them."""

from __future__ import annotations

from dataclasses import dataclass

from rfgraph.present.layers import head, title
from rfgraph.present.rows import Column, Document, Records, Sheet, counted, digits, number
from rfgraph.questions.latency import Latency, LayerLatency
from rfgraph.questions.records import exact
from rfgraph.report import Report


@dataclass(frozen=True)
class LatencyView:
    """How a network streams.

    Parameters
    ----------
    report
        The results.
    latency
        What they say of the layer that is asked for.
    name
        Name of the model where the network has none.
    """

    report: Report
    latency: Latency
    name: str

    def sheet(self) -> Sheet:
        """Return it for people."""
        found = self.latency
        heading = f"{title(self.report, self.name)}: streamed along {found.axis}, to {str(found.layer)!r}"
        if found.blockers:
            blocked = (Column("node"), Column("op"), Column("why it cannot be streamed"))
            return Sheet(heading, blocked, [(str(b.node), b.op, b.why) for b in found.blockers])
        columns = (
            Column("layer"), Column("op"), Column("S", "right"), Column("look-ahead", "right"), Column("past", "right"),
            Column("state", "right"), Column("values", "right"),
        )  # fmt: skip
        rows = [
            (
                str(row.node), row.op, number(row.stride), number(row.look_ahead), _past(row), str(row.state),
                "?" if row.values is None else str(row.values),
            )
            for row in found.layers
        ]  # fmt: skip
        return Sheet(heading, columns, rows, tuple(self._notes()))

    def _notes(self) -> list[str]:
        found = self.latency
        at_most = "at most " if found.status == "bound" else ""
        if found.causal:
            kind = "causal: no output reads past its own step"
        else:
            kind = f"not causal: {str(found.first_ahead)!r} is the first node that looks ahead"
        wait = f"; chunks of {counted(found.multiple, 'sample')} {'wait' if found.waits else 'need not wait'}"
        return [
            f"{kind}; look-ahead {at_most}{number(found.look_ahead)} samples{self._time(found.look_ahead)}",
            f"latency {number(found.samples)} samples{self._time(found.samples)}: look-ahead and "
            f"{'one sample' if found.chunk is None else f'a chunk of {found.chunk}'}",
            f"chunks come in multiples of {counted(found.multiple, 'sample')}, "
            f"{number(found.outputs_per_chunk)} outputs a chunk; the hop is {number(found.stride)}{wait}",
            f"state: {counted(found.state, 'feature')} are kept between chunks"
            + (
                ""
                if found.values is None
                else f", {counted(found.values, 'value')}, {found.values * 4} bytes as floats"
            ),
            "S, look-ahead and past are in input samples, state in features of the layer's own map",
        ]

    def _time(self, samples: object) -> str:
        if self.latency.sample_rate is None:
            return ""
        return f" ({self.latency.in_milliseconds(samples):.3f} ms)"  # type: ignore[arg-type]

    def records(self) -> Records:
        """Return it for spreadsheets."""
        if self.latency.blockers:
            return Records(
                ("node", "op", "axis", "why"), [(str(b.node), b.op, b.axis, b.why) for b in self.latency.blockers]
            )
        header = ("layer", "op", "stride", "look_ahead", "past", "state", "values")
        rows = [
            (
                str(row.node), row.op, digits(row.stride), digits(row.look_ahead), digits(row.past), str(row.state),
                "" if row.values is None else str(row.values),
            )
            for row in self.latency.layers
        ]  # fmt: skip
        return Records(header, rows)

    def document(self) -> Document:
        """Return it for programs."""
        found = self.latency
        document = {
            **head("latency", self.report, self.name),
            "layer": str(found.layer),
            "axis": found.axis,
            "status": found.status,
            "blockers": [{"node": str(b.node), "op": b.op, "axis": b.axis, "why": b.why} for b in found.blockers],
        }
        if found.blockers:
            return document
        return {
            **document,
            "causal": found.causal,
            "first_ahead": None if found.first_ahead is None else str(found.first_ahead),
            "look_ahead": exact(found.look_ahead),
            "past": exact(found.past),
            "samples": exact(found.samples),
            "milliseconds": None if found.sample_rate is None else found.milliseconds,
            "chunk": found.chunk,
            "multiple": found.multiple,
            "outputs_per_chunk": exact(found.outputs_per_chunk),
            "hop": exact(found.stride),
            "state": found.state,
            "values": found.values,
            "layers": [_row_document(row) for row in found.layers],
        }


def _past(row: LayerLatency) -> str:
    return "all" if row.past is None else number(row.past)


def _row_document(row: LayerLatency) -> Document:
    return {
        "layer": str(row.node),
        "op": row.op,
        "stride": exact(row.stride),
        "look_ahead": exact(row.look_ahead),
        "past": exact(row.past),
        "state": row.state,
        "values": row.values,
        "recurrent": row.recurrent,
    }

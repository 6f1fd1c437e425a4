"""What ``latency`` shows: how long a network waits, what chunks it takes, and what every layer keeps between them."""

from __future__ import annotations

from rfgraph.frozen import dataclass
from rfgraph.present.layers import head, title
from rfgraph.present.rows import Column, Document, Records, Sheet, counted, digits, number
from rfgraph.questions.latency import Latency, LayerLatency
from rfgraph.questions.records import exact, told
from rfgraph.report import Report


@dataclass(frozen=True)
class LatencyView:
    """How a network streams.

    Parameters
    ----------
    latency
        What they say of the layer that is asked for.
    """

    report: Report
    latency: Latency
    name: str

    def sheet(self) -> Sheet:
        """Return it for people."""
        latency = self.latency
        heading = f"{title(self.report, self.name)}: streamed along {latency.axis}, to {str(latency.layer)!r}"
        if latency.blockers:
            blocked = (Column("node"), Column("op"), Column("why it cannot be streamed"))
            return Sheet(heading, blocked, [(str(b.node), b.op, b.why) for b in latency.blockers])
        columns = (
            Column("layer"), Column("op"), Column("S", "right"), Column("look-ahead", "right"), Column("past", "right"),
            Column("state", "right"), Column("values", "right"),
        )  # fmt: skip
        rows = [
            (
                str(row.node), row.op, number(row.stride), number(row.look_ahead), _past(row), str(row.state),
                "?" if row.values is None else str(row.values),
            )
            for row in latency.layers
        ]  # fmt: skip
        return Sheet(heading, columns, rows, tuple(self._notes()))

    def _notes(self) -> list[str]:
        latency = self.latency
        at_most = "at most " if latency.status == "bound" else ""
        if latency.causal:
            kind = "causal: no output reads past its own step"
        else:
            kind = f"not causal: {str(latency.first_ahead)!r} is the first node that looks ahead"
        wait = f"; chunks of {counted(latency.multiple, 'sample')} {'wait' if latency.waits else 'need not wait'}"
        return [
            f"{kind}; look-ahead {at_most}{number(latency.look_ahead)} samples{self._time(latency.look_ahead)}",
            f"latency {number(latency.samples)} samples{self._time(latency.samples)}: look-ahead and "
            f"{'one sample' if latency.chunk is None else f'a chunk of {latency.chunk}'}",
            f"chunks come in multiples of {counted(latency.multiple, 'sample')}, "
            f"{number(latency.outputs_per_chunk)} outputs a chunk; the hop is {number(latency.stride)}{wait}",
            f"state: {counted(latency.state, 'feature')} are kept between chunks"
            + (
                ""
                if latency.values is None
                else f", {counted(latency.values, 'value')}, {latency.bytes} bytes as floats"
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
        header = ("layer", "op", "stride", "look_ahead", "past", "state", "values", "bytes")
        rows = [
            (
                str(row.node), row.op, digits(row.stride), digits(row.look_ahead), digits(row.past), str(row.state),
                digits(row.values), digits(row.bytes),
            )
            for row in self.latency.layers
        ]  # fmt: skip
        return Records(header, rows)

    def document(self) -> Document:
        """Return it for programs."""
        latency = self.latency
        document = {
            **head("latency", self.report, self.name),
            "layer": str(latency.layer),
            **told(latency, "axis", "status"),
            "blockers": [{"node": str(b.node), **told(b, "op", "axis", "why")} for b in latency.blockers],
        }
        if latency.blockers:
            return document
        lengths = ("look_ahead", "past", "samples", "chunk", "multiple", "outputs_per_chunk")
        numbers = ("op", "stride", "look_ahead", "past", "state", "values", "bytes", "recurrent")
        return {
            **document,
            "first_ahead": None if latency.first_ahead is None else str(latency.first_ahead),
            "milliseconds": None if latency.sample_rate is None else latency.milliseconds,
            "hop": exact(latency.stride),
            **told(latency, "causal", *lengths, "state", "values", "bytes"),
            "layers": [{"layer": str(row.node), **told(row, *numbers)} for row in latency.layers],
        }


def _past(row: LayerLatency) -> str:
    return "all" if row.past is None else number(row.past)

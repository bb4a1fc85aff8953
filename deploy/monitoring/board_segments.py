"""The board of the segments: for marketing and for who supports it."""

from __future__ import annotations

from deploy.monitoring.panels import Board, Panel, Query, Row, metric, rate, recorded, total
from deploy.monitoring.thresholds import Thresholds


def segments(t: Thresholds) -> Board:
    """Sizes, changes and their causes, and whether segments last."""
    sizes = total("segment_customers", by="segment")
    return Board(
        "segmenter-segments",
        "Segmenter / Segments",
        "Sizes, changes and their causes, and whether segments last. Names are in the catalog topic.",
        (
            Row(
                "Sizes",
                (
                    Panel(
                        "Customers by segment",
                        "Published segments of live customers.",
                        (Query(sizes, "{{segment}}"),),
                        "stacked",
                        width=12,
                        height=10,
                    ),
                    Panel(
                        "Shares",
                        "Of all customers with a segment.",
                        (Query(f"{sizes} / ignoring (segment) group_left () sum ({sizes})", "{{segment}}"),),
                        unit="percentunit",
                        width=12,
                        height=10,
                    ),
                    Panel(
                        "Customers",
                        "Live customers, and those that have a segment.",
                        (
                            Query(recorded("customers:sum"), "live"),
                            Query(f"sum ({sizes})", "with a segment"),
                        ),
                        width=12,
                    ),
                    Panel(
                        "How fresh",
                        "Time since all customers of a partition were last looked at.",
                        (
                            Query(
                                f"max by (partition) (time() - {metric('scan_timestamp_seconds')})",
                                "{{partition}}",
                            ),
                        ),
                        unit="s",
                        width=12,
                    ),
                ),
            ),
            Row(
                "Changes",
                (
                    Panel(
                        "Changes by kind",
                        "First assignments, moves and exits.",
                        (Query(rate("changes_total", by="change"), "{{change}}"),),
                        "stacked",
                        "cps",
                    ),
                    Panel(
                        "Changes by cause",
                        "behaviour: the customer's own; time: silence or a window that has passed; model: a "
                        "new version; correction: of an earlier event.",
                        (Query(rate("changes_total", by="cause"), "{{cause}}"),),
                        "stacked",
                        "cps",
                    ),
                    Panel(
                        "Moves that go back",
                        "Share of the moves that lead back to the segment left within seven event days.",
                        (Query(recorded("flap:ratio"), "flaps"),),
                        unit="percentunit",
                        steps=((None, "green"), (t["flap_ratio"].warning, "yellow")),
                        empty="nobody has moved between segments",
                    ),
                ),
            ),
        ),
    )

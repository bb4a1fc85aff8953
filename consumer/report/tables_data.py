"""The report's tables about features: what they look like, which matter, how they hang together."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from consumer.report.few import in_tens, share_shown
from consumer.report.findings import Findings
from consumer.report.table import Column, Table, Value
from consumer.report.tables import HIDDEN_NOTE, sample_note
from online_model.columns import Transform
from online_model.exploration import Dots, histogram, rank_correlation, summarise
from online_model.model import Model

Float64Array = npt.NDArray[np.float64]

#: Rows that correlations are ranked over.
CORRELATION_ROWS: Final = 5000
_QUANTILES: Final = ("p5", "q1", "median", "q3", "p95")
_FEATURE: Final = (Column("feature", "Feature"), Column("label", "In words"), Column("unit", "Unit"))


def significance(findings: Findings) -> Table:
    """How much of each feature's variance lies between the segments."""
    order = np.argsort(-findings.significance, kind="stable")
    rows = [
        (findings.columns.name[j], findings.units.label(j), float(findings.significance[j])) for j in order
    ]
    columns = (*_FEATURE[:2], Column("significance", "Told by the segment", "share"))
    note = f"Share of a feature's variance that lies between segments (eta squared). {sample_note(findings)}"
    return Table("significant_features", "Most significant features", columns, rows, note)


def features(findings: Findings) -> Table:
    """Mean, spread, quantiles and missing values of every feature."""
    reference, rows = findings.model.reference, list[tuple[Value, ...]]()
    fitted = _fitted(findings.model)
    for j in range(findings.columns.n):
        values = findings.customers.raw[:, j]
        seen = summarise(values)
        missing = _missing(values)
        is_told = seen is not None and not findings.levels.hidden[-1, j]
        numbers = [None] * 7 if seen is None or not is_told else [seen.mean, seen.deviation, *seen.quantiles]
        name, label = findings.columns.name[j], findings.units.label(j)
        then = share_shown(float(reference.missing[j]), fitted)
        rows.append((name, label, findings.units.unit(j), *numbers, missing, then))
    return Table(
        "features",
        "Features",
        (
            *_FEATURE,
            Column("mean", "Mean", "number"),
            Column("deviation", "Standard deviation", "number"),
            *(
                Column(q, t, "number")
                for q, t in zip(_QUANTILES, ("5 %", "25 %", "Median", "75 %", "95 %"), strict=True)
            ),
            Column("missing", "Missing now", "share"),
            Column("missing_at_calibration", "Missing at calibration", "share"),
        ),
        rows,
        f"{sample_note(findings)} {HIDDEN_NOTE}",
    )


def _fitted(model: Model) -> int:
    """Customers that the segments were made from: sizes and shares of their profiles lead back to it."""
    known = [s.profile for s in model.segments if s.profile is not None and s.profile.share > 0]
    return max((round(profile.size / profile.share) for profile in known), default=0)


def _missing(values: Float64Array) -> float | None:
    """Share of missing values; None if they, or those that are not, are of one to nine customers."""
    absent = int((~np.isfinite(values)).sum())
    return share_shown(absent / max(len(values), 1), len(values))


def histograms(findings: Findings) -> Table:
    """Customers per bin of every numeric feature."""
    rows: list[tuple[Value, ...]] = []
    for j in numeric(findings):
        transform = int(findings.columns.transform[j])
        found = histogram(findings.customers.raw[:, j], transform)
        if found is None:
            continue
        edges = off_axis(found.edges, transform)
        label = findings.units.label(j)
        for low, high, n in zip(edges[:-1], edges[1:], found.counts, strict=True):
            rows.append(
                (findings.columns.name[j], label, findings.units.unit(j), float(low), float(high), int(n))
            )
    return Table(
        "histograms",
        "Histograms",
        (
            *_FEATURE,
            Column("from", "From", "number"),
            Column("to", "To", "number"),
            Column("customers", "Customers", "count"),
        ),
        rows,
        f"{sample_note(findings)} Outer bins hold what is beyond; customers are rounded down to tens.",
    )


def boxes(findings: Findings) -> Table:
    """Quantiles of every numeric feature per segment."""
    rows: list[tuple[Value, ...]] = []
    for j in numeric(findings):
        for code, segment in enumerate(findings.model.segments):
            seen = summarise(findings.customers.raw[findings.codes == code, j])
            if seen is not None:
                name, label = findings.columns.name[j], findings.units.label(j)
                rows.append((name, label, findings.units.unit(j), segment.id, segment.name, *seen.quantiles))
    return Table(
        "boxes",
        "Box plots",
        (
            *_FEATURE,
            Column("segment_id", "Id"),
            Column("segment", "Segment"),
            *(Column(q, q, "number") for q in _QUANTILES),
        ),
        rows,
        f"{sample_note(findings)} Whiskers reach from the 5th to the 95th percentile.",
    )


def correlations(findings: Findings) -> Table:
    """Rank correlation of every pair of numeric features."""
    chosen = numeric(findings)
    step = max(1, -(-len(findings.customers.raw) // CORRELATION_ROWS))
    sample = findings.customers.raw[::step][:, chosen]
    found = rank_correlation(sample)
    rows: list[tuple[Value, ...]] = []
    for a, j in enumerate(chosen):
        for b, other in enumerate(chosen):
            if a != b:
                value = float(found[a, b])
                names = (findings.columns.name[j], findings.columns.name[other])
                labels = (findings.units.label(j), findings.units.label(other))
                rows.append((names[0], labels[0], names[1], labels[1], value if np.isfinite(value) else None))
    return Table(
        "correlations",
        "Correlations",
        (
            Column("feature", "Feature"),
            Column("label", "In words"),
            Column("other", "Other feature"),
            Column("other_label", "In words"),
            Column("correlation", "Spearman's correlation", "number"),
        ),
        rows,
        f"By ranks, of {in_tens(len(sample)):,} customers.",
    )


def scatter(findings: Findings, name: str, title: str, axes: tuple[str, str], found: list[Dots]) -> Table:
    """Dots per segment; `axes`: what x and y are."""
    rows = [
        (segment.id, segment.name, float(x), float(y), int(n))
        for segment, dots in zip(findings.model.segments, found, strict=True)
        for (x, y), n in zip(dots.at, dots.customers, strict=True)
    ]
    return Table(
        name,
        title,
        (
            Column("segment_id", "Id"),
            Column("segment", "Segment"),
            Column("x", axes[0], "number"),
            Column("y", axes[1], "number"),
            Column("customers", "Customers", "count"),
        ),
        rows,
        f"{sample_note(findings)} Each dot is the mean of at least ten neighbours of one segment.",
    )


def numeric(findings: Findings) -> list[int]:
    """Places of the columns that are no levels of a category."""
    return [j for j in range(findings.columns.n) if not findings.columns.one_hot[j]]


def off_axis(values: Float64Array, transform: int) -> Float64Array:
    """Back from the axis of `online_model.exploration.on_axis`."""
    if transform == Transform.SIGNED_LOG1P:
        return np.asarray(np.sign(values) * np.expm1(np.abs(values)))
    if transform == Transform.ARCSINE:
        return np.asarray(np.sin(np.clip(values, 0.0, np.pi / 2)) ** 2)
    return values

"""The report's tables about the model: its versions, their quality, drift, and the age of the data."""

from __future__ import annotations

import math
from typing import Final

from consumer.models.details import details
from consumer.report.few import in_tens, share_shown
from consumer.report.findings import Findings
from consumer.report.table import Column, Table, Value
from consumer.report.words import day, minute
from online_model.model import Model, Transition


def models(findings: Findings) -> Table:
    """Calibrations, recalibrations and restored versions, the newest version and a waiting proposal."""
    by_number = {model.version: model for model in findings.models}
    rows: list[tuple[Value, ...]] = []
    listed = [
        m for m in findings.models if isinstance(m, Model) and (m.kind != "folded" or m is findings.model)
    ]
    for model in [*listed, *([findings.proposal] if findings.proposal else [])]:
        facts = details(model, by_number.get(model.parent or 0))
        rows.append(
            (
                "proposal" if model is findings.proposal else str(model.version),
                model.kind,
                day(model.created_us),
                model.k,
                model.quality.silhouette,
                model.quality.davies_bouldin,
                _moved(model.transition),
                facts["cause"] or None,
                "; ".join([*facts["lineage"], facts["concerns"]]).strip("; ") or None,
            )
        )
    return Table(
        "models",
        "Model history",
        (
            Column("version", "Version"),
            Column("kind", "Kind"),
            Column("created", "Made on (event time)", "time"),
            Column("k", "Segments", "count"),
            Column("silhouette", "Silhouette", "number"),
            Column("davies_bouldin", "Davies-Bouldin", "number"),
            Column("moved", "Moved by it", "share"),
            Column("cause", "Why"),
            Column("remarks", "Remarks"),
        ),
        rows,
        "The only version so far."
        if len(findings.models) == 1
        else f"{len(findings.models)} versions in all; those that only learnt a scan are left out.",
    )


def _moved(transition: Transition | None) -> float | None:
    if transition is None:
        return None
    return share_shown(transition.moved_share, sum(map(sum, transition.customers)))


def drift(findings: Findings, plain: dict[str, str]) -> Table:
    """Alarms that are up; `plain`: text of an alarm to the text with labels."""
    rows = [
        (
            plain[alarm.text],
            alarm.severity,
            alarm.kind.replace("_", " "),
            findings.units.labelled(alarm.subject) or None,
        )
        for alarm in findings.drift.alarms
    ]
    columns = (Column("severity", "Severity"), Column("kind", "Kind"), Column("subject", "Of"))
    note = f"Looked at {findings.drift.scans} times since the segments were made."
    return Table("drift", "What has changed", (Column("says", "Change"), *columns), rows, note)


def panel(findings: Findings) -> Table:
    """Quality of every k that was tried."""
    quality = findings.model.quality
    rows = [
        (
            row.k,
            row.silhouette,
            row.davies_bouldin,
            row.calinski_harabasz,
            row.stability,
            row.smallest_share,
            "chosen" if row.k == quality.chosen else "runner-up" if row.k == quality.runner_up else None,
        )
        for row in quality.panel
    ]
    return Table(
        "choice_of_k",
        "Choice of the number of segments",
        (
            Column("k", "Segments", "count"),
            Column("silhouette", "Silhouette (more is better)", "number"),
            Column("davies_bouldin", "Davies-Bouldin (less is better)", "number"),
            Column("calinski_harabasz", "Calinski-Harabasz", "number"),
            Column("stability", "Stability (1 = the same again)", "number"),
            Column("smallest_share", "Smallest segment", "share"),
            Column("choice", "Choice"),
        ),
        rows,
        "Scores are of 3,000 customers of the calibration; stability is the ARI between resamples.",
    )


_ALGORITHMS: Final = {"k-means": "K-Means", "ward": "Hierarchical (Ward)", "dbscan": "DBSCAN"}


def comparison(findings: Findings) -> Table:
    """K-Means beside hierarchical clustering and DBSCAN."""
    rows = [
        (
            _ALGORITHMS.get(row.algorithm, row.algorithm),
            row.n_clusters,
            row.silhouette,
            row.davies_bouldin,
            share_shown(row.noise_share, row.sample_size),
            row.ari_to_kmeans,
            row.note or None,
        )
        for row in findings.model.quality.comparison
    ]
    sizes = {row.sample_size for row in findings.model.quality.comparison}
    return Table(
        "comparison",
        "K-Means, hierarchical clustering and DBSCAN on the same customers",
        (
            Column("algorithm", "Algorithm"),
            Column("clusters", "Clusters", "count"),
            Column("silhouette", "Silhouette (more is better)", "number"),
            Column("davies_bouldin", "Davies-Bouldin (less is better)", "number"),
            Column("noise_share", "Left out as noise", "share"),
            Column("ari_to_kmeans", "Agreement with K-Means (ARI)", "number"),
            Column("note", "Note"),
        ),
        rows,
        f"Sample of {max(sizes, default=0):,} customers at the calibration. Scores leave out noise, so a "
        "good one with much noise says little.",
    )


def quality(findings: Findings) -> Table:
    """Silhouette and Davies-Bouldin at the calibration and now."""
    then, now = findings.model.quality, findings.now
    rows: list[tuple[Value, ...]] = [
        ("Silhouette (more is better)", then.silhouette, _finite(now.silhouette)),
        ("Davies-Bouldin (less is better)", then.davies_bouldin, _finite(now.davies_bouldin)),
        ("Calinski-Harabasz (more is better)", then.calinski_harabasz, _finite(now.calinski_harabasz)),
    ]
    return Table(
        "quality",
        "How good the segments are",
        (
            Column("measure", "Measure"),
            Column("at_calibration", "At calibration", "number"),
            Column("now", "Now", "number"),
        ),
        rows,
        f"At calibration of {then.sample_size:,} customers, now of {in_tens(now.sample_size):,} in the "
        "published segments. A silhouette of 0.15 to 0.35 is usual for usage data.",
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def freshness(findings: Findings) -> Table:
    """What the report was made of, and how old it was."""
    newest = findings.customers.as_of_us
    rows = [
        (
            part.name,
            part.customers // 10 * 10,
            minute(part.as_of_us),
            (newest - part.as_of_us) / 3.6e9,
            part.written or None,
        )
        for part in findings.customers.parts
    ]
    return Table(
        "freshness",
        "Data freshness",
        (
            Column("part", "Part"),
            Column("customers", "Customers, in tens", "count"),
            Column("as_of", "Events up to", "time"),
            Column("behind_hours", "Hours behind the newest", "number"),
            Column("written", "Written", "time"),
        ),
        rows,
        f"From {findings.customers.source}.",
    )

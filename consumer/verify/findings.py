"""What a verification found."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """A record that is missing, doubled or wrong; `commit` is the `n` of the audit record, -1 for none."""

    kind: str
    partition: int
    customer: str
    topic: str
    offset: int
    commit: int
    expected: str
    found: str


@dataclass(slots=True)
class Report:
    """Findings (the first `limit` of them are kept), what was counted, and what could not be verified."""

    limit: int = 1000
    findings: list[Finding] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    #: By (partition, input topic): what became of the records, by outcome.
    inputs: dict[tuple[int, str], Counter[str]] = field(default_factory=dict)
    unverified: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not self.kinds

    def add(self, finding: Finding) -> None:
        """Counts a finding, and keeps it if there is room."""
        self.kinds[finding.kind] += 1
        if len(self.findings) < self.limit:
            self.findings.append(finding)

    def outcome(self, partition: int, topic: str, what: str) -> None:
        """Counts an input record."""
        self.inputs.setdefault((partition, topic), Counter())[what] += 1

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "clean": self.is_clean,
            "findings": [
                {name: getattr(finding, name) for name in Finding.__slots__} for finding in self.findings
            ],
            "kinds": dict(sorted(self.kinds.items())),
            "counts": dict(sorted(self.counts.items())),
            "inputs": [
                {"partition": partition, "topic": topic, "records": sum(counts.values())} | dict(counts)
                for (partition, topic), counts in sorted(self.inputs.items())
            ],
            "unverified": self.unverified,
        }

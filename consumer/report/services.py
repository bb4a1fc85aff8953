"""The services that most customers of a segment have, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import numpy as np

from consumer.report.few import share_shown, share_words
from consumer.report.findings import Findings
from consumer.report.words import named
from online_model.exploration import MIN_GROUP
from online_model.services import OTHER

_MOST: Final = 0.5
_LISTED: Final = 5


def services_of(findings: Findings, code: int) -> str:
    """Most have: family sharing (95 %), TV (85 %). What sets the segment apart comes first.

    Of customers whose services are known; groups of fewer than ten are told by nothing. Empty where nothing
    is known.
    """
    held = findings.customers.services
    if not held:
        return ""
    own, n = _counted(held[row] for row in np.flatnonzero(findings.codes == code))
    everybody, total = _counted(held)
    if n < MIN_GROUP:
        return ""
    shares = {name: own[name] / n for name in own if own[name] >= MIN_GROUP and name != OTHER}
    # Each by how much more have it here than usual; the name keeps the order the same from run to run.
    order = sorted(shares, key=lambda name: (everybody[name] / total - shares[name], -shares[name], name))
    most = [name for name in order if shares[name] >= _MOST][:_LISTED]
    if most:
        return f"Most have: {', '.join(f'{named(name)} ({_share(own[name], n)})' for name in most)}."
    if not shares:
        return ""
    top = max(order, key=lambda name: shares[name])
    return f"No service that most have; the most common is {named(top)} ({_share(own[top], n)})."


def _counted(held: Iterable[list[str] | None]) -> tuple[Counter[str], int]:
    """Customers by service, and those whose services are known."""
    known = [names for names in held if names is not None]
    return Counter(name for names in known for name in names), len(known)


def _share(having: int, n: int) -> str:
    """In whole per cent; a word where that would tell of fewer than ten."""
    share = share_shown(having / n, n)
    return share_words(having, n) if share is None else f"{share * 100:.0f} %"

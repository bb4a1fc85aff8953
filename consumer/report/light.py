"""The drift light: whether the segments still fit their customers, as the answer to that question."""

from __future__ import annotations

import re
from dataclasses import dataclass

from consumer.report.findings import Findings
from consumer.report.words import capital


@dataclass(frozen=True, slots=True)
class Light:
    """`state` is green, yellow, red or grey. `texts`: text of each alarm to the one with labels."""

    state: str
    sentence: str
    texts: dict[str, str]


def drift_light(findings: Findings) -> Light:
    """Red: a recalibration is called for; yellow: somebody should look; grey: nothing was measured."""
    sight = findings.drift
    texts = {alarm.text: plain(findings, alarm.text) for alarm in sight.alarms}
    by_severity = {
        severity: [texts[alarm.text] for alarm in sight.alarms if alarm.severity == severity]
        for severity in ("act", "watch")
    }
    if by_severity["act"]:
        sentence = f"No, they should be made anew: {by_severity['act'][0]}."
        return Light("red", sentence, texts)
    if by_severity["watch"]:
        more = len(by_severity["watch"]) - 1
        rest = f" ({more} more in the table)" if more else ""
        return Light("yellow", f"Perhaps not, somebody should look: {by_severity['watch'][0]}{rest}.", texts)
    if not sight.scans:
        sentence = "Not known yet: that takes new events of 2,000 customers at least."
        return Light("grey", sentence, texts)
    sentence = "Yes, customers look like those the segments were made from"
    remarks = f"; {len(texts)} smaller {'change' if len(texts) == 1 else 'changes'} below" if texts else ""
    sentence += f" (looked at {sight.scans} times{remarks})."
    return Light("green", sentence, texts)


def plain(findings: Findings, text: str) -> str:
    """`text` of an alarm with labels and names in place of column names and ids."""
    words = {name: findings.units.label(j) for j, name in enumerate(findings.columns.name)}
    words |= {segment_id: f"“{findings.name(segment_id)}”" for segment_id in findings.ids}
    without = text.removesuffix(" (by ADWIN)")
    found = re.sub(r"[A-Za-z0-9_=-]+", lambda match: words.get(match[0], match[0]), without)
    return capital(found) if text != found and text[0] != found[0] else found

"""`python -m tests.deploy.faults`: plants faults one after the other; which alerts fire, and which others?

Every fault has a service of its own with a month of history. Times are divided: a scan is seconds instead of
an hour, and the rules wait accordingly. Then the entry of the runbook is followed: its commands must show the
cause, and what it says must end the alerts. The last line of stdout is the table as JSON; the code is 0 if
every fault brought up its alerts and nothing that does not belong to it, was seen and was mended.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from consumer.brokers import Broker, BrokerOptions, resolve
from tests.deploy.mends import (
    Mend,
    Mended,
    at_the_source,
    by_command,
    make_room,
    mend,
    send_ages,
    start_again,
)
from tests.deploy.rig import Rig

#: Until the alerts of a fault must be up.
_SOON_S: Final = 60.0
#: How long others would have the time to come up.
_WATCHED_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Fault:
    """What is planted, the alerts that must come up, and those that belong to the same cause.

    `cause`: a regular expression that what the runbook says to run must show; `mend`: what it says to do;
    `haste`: by how much times are divided; `thresholds`: numbers that are changed for the test.
    """

    name: str
    plant: Callable[[Rig], None]
    wanted: frozenset[str]
    cause: str
    mend: Mend
    belonging: frozenset[str] = frozenset()
    workers: int = 1
    haste: int = 60
    rejects: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    thresholds: dict[str, dict[str, float]] = field(default_factory=dict)


def stopped(rig: Rig) -> None:
    """The only worker stands still: it does not even answer."""
    rig.workers[0].signal(signal.SIGSTOP)


def killed(rig: Rig) -> None:
    """One of two workers dies; the other takes over."""
    rig.workers[0].signal(signal.SIGKILL)


def nothing(_: Rig) -> None:
    """What is wrong is in the load, or comes by itself."""


def full_store(rig: Rig) -> None:
    """The directory of the snapshots is a file: whoever the process is, it cannot be written."""
    where = Path(rig.world.config.snapshots.uri)
    where.rename(where.with_name(where.name + ".gone"))
    where.write_text("no room", encoding="utf-8")


def one_feature(rig: Rig) -> None:
    """Two of three customers call the care centre twice: one light feature moves."""
    events = [
        {**rig.base(customer), "type": "care_contact", "channel": "phone", "reason": "fault"}
        for customer in rig.customers[::3] + rig.customers[1::3]
        for _ in range(2)
    ]
    rig.send(rig.world.names.customer, events)


def other_mix(rig: Rig) -> None:
    """Half of all call abroad, like the smallest segment."""
    events = [
        rig.event(
            customer, "voice", duration_seconds=300, direction="outgoing", international=True, roaming=False
        )
        for customer in rig.customers[::2]
        for _ in range(60)
    ]
    rig.send(rig.world.names.usage, events)


def all_wider(rig: Rig) -> None:
    """Everybody sends sixty messages in roaming."""
    events = [
        rig.event(customer, "sms", count=1, direction="outgoing", international=True, roaming=True)
        for customer in rig.customers
        for _ in range(60)
    ]
    rig.send(rig.world.names.usage, events)


def strangers(rig: Rig) -> None:
    """Machines: one in fifteen customers does what nobody does."""
    events = [
        rig.event(
            customer, "voice", duration_seconds=86_000, direction="outgoing", international=True, roaming=True
        )
        for customer in rig.customers[::15]
        for _ in range(80)
    ]
    rig.send(rig.world.names.usage, events)


def lost_field(rig: Rig) -> None:
    """The source of profiles clears the age of a third."""
    events = [{**rig.base(customer), "type": "profile", "age": None} for customer in rig.customers[::3]]
    rig.send(rig.world.names.customer, events)


#: A scan of five seconds stands for one of an hour.
_DRIFT: Final = 720
_FIGURES: Final = frozenset(
    ("SegmenterFeatureDrift", "SegmenterShareDrift", "SegmenterFitDrift", "SegmenterOutliers")
)

FAULTS: Final = (
    Fault("consumer stopped", stopped, frozenset(["SegmenterDown"]), "it does not answer", start_again),
    Fault(
        "a tenth is rejected",
        nothing,
        frozenset(["SegmenterRejects"]),
        r'segmenter_rejected_total\{reason="malformed_json".*\} [1-9].*',
        at_the_source,
        rejects=0.1,
    ),
    # Divided by ten: the session of the dead worker, ten seconds, is not.
    Fault(
        "worker killed",
        killed,
        frozenset(["SegmenterDown"]),
        "it does not answer",
        start_again,
        workers=2,
        haste=10,
    ),
    Fault(
        "snapshots fail",
        full_store,
        frozenset(["SegmenterSnapshotsFailing"]),
        "segmenter_snapshot_failures_total [1-9].*",
        make_room,
    ),
    Fault(
        "model too old",
        nothing,
        frozenset(["SegmenterModelOld"]),
        r"1\s+calibrated(?![\s\S]*recalibrated).*",
        by_command,
        thresholds={"model_age": {"warning": 30.0}},
    ),
    Fault(
        "one feature drifts",
        one_feature,
        frozenset(["SegmenterFeatureDrift"]),
        # The largest, and it stands last.
        r'segmenter_feature_psi\{feature="care_[^\n]*\n(?!segmenter_feature_psi)',
        by_command,
        haste=_DRIFT,
    ),
    Fault(
        "the mix shifts",
        other_mix,
        frozenset(["SegmenterShareDrift"]),
        # The smallest one at calibration.
        r'segmenter_segment_customers\{segment="s5"\} (9|1\d)\d\d\..*',
        by_command,
        _FIGURES,
        haste=_DRIFT,
    ),
    Fault(
        "customers leave their segments",
        all_wider,
        frozenset(["SegmenterFitDrift"]),
        r"segmenter_quantization_error_ratio (1\.[3-9]|[2-9]).*",
        by_command,
        _FIGURES,
        haste=_DRIFT,
    ),
    Fault(
        "strangers",
        strangers,
        frozenset(["SegmenterOutliers"]),
        r"segmenter_outlier_ratio 0\.0[3-9].*",
        by_command,
        _FIGURES,
        haste=_DRIFT,
    ),
    Fault(
        "a field is lost",
        lost_field,
        frozenset(["SegmenterFeatureMissing"]),
        r'segmenter_feature_missing_excess_ratio\{feature="age"\} 0\.[23].*',
        send_ages,
        haste=_DRIFT,
    ),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a fault: seconds until its alerts were up (None: not), and all that fired."""

    fault: str
    after_s: float | None
    fired: list[str]
    unwanted: list[str]
    mended: Mended

    @property
    def holds(self) -> bool:
        """Whether the right alerts fired and no others, and the runbook led to the cause and the mend."""
        return self.after_s is not None and not self.unwanted and self.mended.holds


def see(fault: Fault, broker: Broker, folder: Path) -> Seen:
    """Plants one fault and watches."""
    with Rig(
        broker,
        folder,
        fault.workers,
        fault.haste,
        fault.thresholds,
        **{"model__recalibrate_days": None} | fault.settings,
    ) as rig:
        rig.settle()
        before = rig.prometheus.alerts()
        fault.plant(rig)
        begin, up, fired = time.monotonic(), None, set(before)
        while time.monotonic() - begin < (_SOON_S if up is None else up + _WATCHED_S):
            rig.run(0.5, fault.rejects)
            fired |= rig.prometheus.alerts()
            if up is None and fault.wanted <= {name for name, _ in fired}:
                up = time.monotonic() - begin
        mended = mend(rig, min(fault.wanted), fault.cause, fault.mend)
    names = {name for name, _ in fired}
    unwanted = sorted(names - fault.wanted - fault.belonging) + sorted(
        f"before: {name}" for name, _ in before
    )
    return Seen(
        fault.name,
        None if up is None else round(up, 1),
        sorted(f"{name} {severity}" for name, severity in fired),
        unwanted,
        mended,
    )


def told(seen: Seen) -> str:
    """A line of the table, and what was said where it does not hold."""
    mended, others = seen.mended, "; unwanted: " + ", ".join(seen.unwanted) if seen.unwanted else ""
    return (
        f"{seen.fault:32} {'holds' if seen.holds else 'DOES NOT HOLD':14} after {seen.after_s} s: "
        f"{', '.join(seen.fired)}{others}; cause: {mended.cause or 'NOT SEEN'}; quiet {mended.after_s} s "
        f"after the mend\n{'' if seen.holds else mended.said}"
    )


def main(arguments: list[str] | None = None) -> int:
    """0 if every fault was told right."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.deploy.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", help="name of a fault; may be repeated")
    parser.add_argument("--bootstrap", help="a broker to use (default: start a real one)")
    options = parser.parse_args(arguments)
    rows = []
    with (
        resolve("real", options.bootstrap, BrokerOptions(heap_mb=512)) as broker,
        tempfile.TemporaryDirectory(prefix="segmenter-faults-") as folder,
    ):
        for number, fault in enumerate(FAULTS):
            if options.only and fault.name not in options.only:
                continue
            seen = see(fault, broker, Path(folder) / str(number))
            rows.append(seen)
            sys.stderr.write(told(seen))
    holds = all(row.holds for row in rows)
    table = {row.fault: asdict(row) for row in rows}
    sys.stdout.write(json.dumps({"faults": table, "holds": holds}) + "\n")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())

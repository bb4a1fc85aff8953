"""What was planted: the customers as they really are, and what was sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.simulator.personas import Persona
from consumer.simulator.population import NEVER_US, Population
from consumer.simulator.records import TOPICS, FaultKind, Records
from consumer.simulator.traits import IntArray
from schemas.batch import Kind

_TIMES = ("migrated_at", "activated_at", "churned_at", "closed_at")
_COUNTERS = b"telecom_segmenter.sent"


@dataclass(slots=True)
class Sent:
    """Counters of the records handed out so far; each of the three splits adds up to `total`."""

    total: int = 0
    by_fault: dict[str, int] = field(default_factory=dict)
    by_type: dict[str, int] = field(default_factory=dict)
    by_topic: dict[str, int] = field(default_factory=dict)

    def add(self, records: Records) -> None:
        """Count `records`; a malformed one counts under the type it was made from."""
        self.total += records.n
        _count(self.by_fault, records.fault, [f.name.lower() for f in FaultKind])
        _count(self.by_type, records.kind, [k.name.lower() for k in Kind])
        _count(self.by_topic, records.topic, TOPICS)


@dataclass(slots=True)
class Truth:
    """The planted truth of a run.

    `customers`: customer_id, persona, persona_after (the same where nobody migrates), and the UTC
    times migrated_at, activated_at (first instant in the run), churned_at (silently), closed_at
    (NaT where it does not happen). `sent`: counters of the records yielded so far.
    """

    customers: pd.DataFrame
    sent: Sent

    def write(self, path: Path | str) -> None:
        """Write to `path`: Parquet if it ends in ``.parquet``, else JSON."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        counters = {name: getattr(self.sent, name) for name in Sent.__slots__}
        if path.suffix == ".parquet":
            table = pa.Table.from_pandas(self.customers, preserve_index=False)
            metadata = {**(table.schema.metadata or {}), _COUNTERS: json.dumps(counters).encode()}
            pq.write_table(table.replace_schema_metadata(metadata), path)
            return
        text = self.customers.copy()
        for column in _TIMES:
            text[column] = [None if pd.isna(t) else t.isoformat() for t in text[column]]
        rows = text.to_dict(orient="records")
        rows = [{k: None if pd.isna(v) else v for k, v in row.items()} for row in rows]
        path.write_text(json.dumps({"sent": counters, "customers": rows}))

    @classmethod
    def read(cls, path: Path | str) -> Truth:
        """Read what `write` wrote."""
        path = Path(path)
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            counters = json.loads((table.schema.metadata or {})[_COUNTERS])
            return cls(table.to_pandas(), Sent(**counters))
        content = json.loads(path.read_text())
        customers = pd.DataFrame(content["customers"])
        for column in _TIMES:
            customers[column] = pd.to_datetime(customers[column], utc=True).astype("datetime64[us, UTC]")
        return cls(customers, Sent(**content["sent"]))


def customer_table(population: Population, personas: Sequence[Persona]) -> pd.DataFrame:
    """The `customers` of a `Truth`."""
    names = np.array([p.name for p in personas], object)
    return pd.DataFrame(
        {
            "customer_id": population.ids.astype(str),
            "persona": names[population.persona].astype(str),
            "persona_after": names[population.persona_after].astype(str),
            "migrated_at": _times(population.migrated_us),
            "activated_at": _times(population.activated_us),
            "churned_at": _times(population.churned_us),
            "closed_at": _times(population.closed_us),
        }
    )


def _times(times_us: IntArray) -> pd.Series[pd.Timestamp]:
    values = times_us.astype("datetime64[us]")
    values[times_us == NEVER_US] = np.datetime64("NaT")
    return pd.Series(values).dt.tz_localize("UTC")


def _count(counts: dict[str, int], codes: np.typing.NDArray[np.uint8], names: Sequence[str]) -> None:
    for name, number in zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True):
        if number:
            counts[name] = counts.get(name, 0) + number

"""Helpers: a run as tables."""

from __future__ import annotations

import hashlib
import math
from operator import attrgetter

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from consumer.simulator import Simulation, SimulationSettings

DAY_US = 86_400_000_000


def digest(settings: SimulationSettings) -> str:
    """Hash of everything a run hands out."""
    total = hashlib.sha256()
    for chunk in Simulation(settings).chunks():
        for topic, key, value in zip(chunk.topic, chunk.key, chunk.value, strict=True):
            total.update(topic.encode() + key + value + b"\n")
        total.update(chunk.arrival_us.tobytes() + chunk.fault.tobytes())
    return total.hexdigest()


class AnyEvent(msgspec.Struct, frozen=True, gc=False):
    """The fields of all types that tests look at, with the missing value of a column."""

    event_id: str
    customer_id: str
    type: str
    megabytes: float = math.nan
    duration_seconds: float = math.nan
    count: float = math.nan
    amount: float = math.nan
    days_late: float = math.nan
    roaming: bool = False
    international: bool = False
    period_start: str | None = None
    period_end: str | None = None
    plan: str | None = None
    line_type: str | None = None
    services: list[str] | None = None


def event_table(simulation: Simulation) -> pd.DataFrame:
    """All records of a faultless run as a table, with ``row`` (of the customer), hour and weekday."""
    decoder = msgspec.json.Decoder(AnyEvent)
    events: list[AnyEvent] = []
    times: list[npt.NDArray[np.int64]] = []
    for chunk in simulation.chunks():
        events += map(decoder.decode, chunk.value)
        times.append(chunk.event_time_us)
    names = AnyEvent.__struct_fields__
    table = pd.DataFrame({name: list(map(attrgetter(name), events)) for name in names})
    time_us = np.concatenate(times)
    table["time_us"] = time_us
    table["row"] = table["customer_id"].str[1:].astype(int) - 1
    table["hour"] = time_us // 3_600_000_000 % 24
    table["weekday"] = (time_us // DAY_US + 3) % 7
    return table


def feature_matrix(table: pd.DataFrame, n: int) -> npt.NDArray[np.float64]:
    """Simple log-usage features float64[n, 13], standardised: what an analyst would try first."""

    def total(values: pd.Series[float], mask: pd.Series[bool]) -> npt.NDArray[np.float64]:
        return np.bincount(table["row"][mask], values[mask], n).astype(np.float64)

    ones = pd.Series(1.0, table.index)
    is_type = {t: table["type"] == t for t in table["type"].unique()}
    talk = is_type["voice"] | is_type["sms"]
    usage = is_type["data"] | talk

    def share(part: pd.Series[bool], whole: pd.Series[bool]) -> npt.NDArray[np.float64]:
        a, b = total(ones, part), total(ones, whole)
        return np.asarray((a + 5 * a.sum() / b.sum()) / (b + 5), np.float64)

    night = usage & ((table["hour"] >= 22) | (table["hour"] < 6))
    profiles = table[is_type["profile"]].drop_duplicates("row", keep="last").set_index("row")
    services, postpaid = np.zeros(n), np.zeros(n)
    services[profiles.index] = profiles["services"].str.len()
    postpaid[profiles.index] = profiles["line_type"] == "postpaid"
    money = is_type["invoice"] | is_type["topup"]
    columns = [
        np.log1p(total(table["megabytes"], is_type["data"])),
        np.log1p(total(table["duration_seconds"], is_type["voice"]) / 60),
        np.log1p(total(table["count"], is_type["sms"])),
        share(is_type["voice"], usage),
        share(is_type["data"], usage),
        np.sqrt(share(usage & table["roaming"], usage)),
        share(talk & table["international"], talk),
        share(night, usage),
        share(usage & (table["weekday"] >= 5), usage),
        np.log1p(total(table["amount"], money)),
        np.log1p(total(ones, is_type["topup"])),
        np.log1p(services),
        postpaid,
    ]
    matrix = np.array(columns).T
    return np.asarray((matrix - matrix.mean(axis=0)) / matrix.std(axis=0))

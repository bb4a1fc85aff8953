"""Contract-valid telecom events, made fast.

`segmenter simulate` is realistic; this is quick (about 3 us per event), so that millions of events
for a benchmark take seconds. Six personas differ in what they use, how much of it, and where.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas.batch import Int64Array, Topic, UInt8Array

DAY_US: Final = 86_400_000_000
HOUR_US: Final = 3_600_000_000

#: End of the history and begin of what is measured: 2026-03-02T10:00Z, a Monday.
START_US: Final = 1_772_445_600_000_000

_KINDS: Final = ("data", "voice", "sms", "topup", "payment", "invoice", "care_contact")
_TOPIC_OF_KIND: Final = np.array([Topic.USAGE] * 3 + [Topic.BILLING] * 3 + [Topic.CUSTOMER], dtype=np.uint8)

#: Per persona: shares of data, voice and sms (the rest is billing and care), median megabytes per
#: session, median seconds per call, chance of roaming, chance of calling abroad, activity.
_PERSONAS: Final = np.array(
    [
        (0.82, 0.06, 0.04, 700.0, 60.0, 0.02, 0.02, 1.3),  # streamer
        (0.32, 0.48, 0.12, 40.0, 420.0, 0.02, 0.05, 1.0),  # talker
        (0.50, 0.08, 0.34, 60.0, 60.0, 0.01, 0.02, 1.1),  # texter
        (0.58, 0.26, 0.08, 250.0, 240.0, 0.35, 0.45, 1.4),  # traveller
        (0.62, 0.20, 0.10, 6.0, 60.0, 0.01, 0.02, 0.4),  # light user
        (0.66, 0.20, 0.06, 150.0, 180.0, 0.03, 0.05, 1.0),  # family
    ]
)
LIGHT: Final = 4
_SHARE_OF_OTHERS: Final = (0.5, 0.2, 0.2, 0.1)  # top-up, payment, invoice, care contact

_COMMON: Final = b'{"event_id":"%b","customer_id":"%b","event_time":"%bZ","type":'
_DATA: Final = _COMMON + b'"data","megabytes":%.3f,"roaming":%b,"technology":"%b"}'
_VOICE: Final = _COMMON + b'"voice","duration_seconds":%.1f,"direction":"%b","international":%b,"roaming":%b}'
_SMS: Final = _COMMON + b'"sms","count":%d,"direction":"%b","international":%b,"roaming":%b}'
_TOPUP: Final = _COMMON + b'"topup","amount":%.2f,"currency":"EUR"}'
_PAYMENT: Final = _COMMON + b'"payment","amount":%.2f,"currency":"EUR","days_late":%d}'
_INVOICE: Final = _COMMON + b'"invoice","amount":%.2f,"currency":"EUR"}'
_CARE: Final = _COMMON + b'"care_contact","channel":"%b"}'
_PROFILE: Final = (
    _COMMON + b'"profile","activated_on":"%b","age":%d,"gender":"%b","plan":"%b","contract":"%b",'
    b'"line_type":"%b","services":["mobile","tv"],"consent_profiling":true}'
)

_BOOL: Final = np.array([b"false", b"true"], dtype=object)
_DIRECTION: Final = np.array([b"outgoing", b"incoming"], dtype=object)
_TECHNOLOGY: Final = np.array([b"4g", b"5g"], dtype=object)
_CHANNEL: Final = np.array([b"phone", b"chat", b"app"], dtype=object)

Objects = npt.NDArray[np.object_]


@dataclass(frozen=True, slots=True)
class Events:
    """`n` records in the order of their event times.

    `topic` uint8[n], `customer` int64[n] row in the population, `keys` and `values` parallel lists.
    """

    topic: UInt8Array
    customer: Int64Array
    keys: list[bytes]
    values: list[bytes]

    @property
    def n(self) -> int:
        """Number of records."""
        return len(self.values)


class Population:
    """Customers 0 to `n` - 1 and their events; the same seed gives the same bytes.

    `prefix` of the event ids: two populations of one seed have the same customers and other events.

    Activity is heavy-tailed (log-normal): a tenth of the customers makes about half of the events.
    """

    def __init__(self, n: int, seed: int = 11, prefix: bytes = b"b") -> None:
        self.n = n
        self._prefix = prefix
        self._rng = np.random.default_rng(seed)
        self._made = 0
        self.ids: Objects = np.array([b"c4477%09d" % i for i in range(n)], dtype=object)
        self.persona = self._rng.integers(0, len(_PERSONAS), n)
        weight = _PERSONAS[self.persona, 7] * self._rng.lognormal(0.0, 0.9, n)
        self._cumulative = np.cumsum(weight / weight.sum())

    def profiles(self, at_us: int) -> Events:
        """A profile of every customer, spread over the hour after `at_us`."""
        customer = np.arange(self.n)
        times = at_us + np.sort(self._rng.integers(0, HOUR_US, self.n))
        prepaid = (customer % 2).tolist()
        day = np.datetime_as_string(
            (np.datetime64("2026-01-01") - self._rng.integers(40, 3000, self.n)).astype("M8[D]")
        ).astype("S10")
        age = self._rng.integers(18, 90, self.n)
        values = self._records(
            _PROFILE,
            customer,
            times,
            day.tolist(),
            age.tolist(),
            [(b"female", b"male")[i % 2] for i in age.tolist()],
            [(b"basic", b"plus", b"max")[i % 3] for i in range(self.n)],
            [(b"two-year", b"month-to-month")[p] for p in prepaid],
            [(b"postpaid", b"prepaid")[p] for p in prepaid],
        )
        return self._of_topic(Topic.CUSTOMER, customer, values)

    def history(self, per_customer: int, days: int, chunk: int = 200_000) -> Iterator[Events]:
        """Profiles and then `per_customer` events of every customer over `days` that end at `START_US`."""
        begin = START_US - days * DAY_US
        yield self.profiles(begin)
        first = begin + HOUR_US
        span = START_US - first
        for turn in range(per_customer):
            # Everybody once per turn, in another order each time: on different days at different hours.
            customers = self._rng.permutation(self.n)
            for low in range(0, self.n, chunk):
                high = min(low + chunk, self.n)
                done = (turn + low / self.n) / per_customer, (turn + high / self.n) / per_customer
                edge = first + int(span * done[0]), first + int(span * done[1])
                yield self._mixed(customers[low:high], edge)

    def traffic(self, n: int, begin_us: int, span_us: int, chunk: int = 200_000) -> Iterator[Events]:
        """`n` events evenly in time from `begin_us` over `span_us`; active customers have more of them."""
        for low in range(0, n, chunk):
            high = min(low + chunk, n)
            drawn = np.searchsorted(self._cumulative, self._rng.random(high - low))
            customer = np.minimum(drawn, self.n - 1).astype(np.int64)
            yield self._mixed(customer, (begin_us + span_us * low // n, begin_us + span_us * high // n))

    def jumps(self, customer: Int64Array, times: Int64Array, megabytes: float) -> Events:
        """One data session of `megabytes` of each `customer` at `times`: far from what they did so far."""
        n = len(customer)
        values = self._records(_DATA, customer, times, [megabytes] * n, [b"false"] * n, [b"5g"] * n)
        return self._of_topic(Topic.USAGE, customer, values)

    def _of_topic(self, topic: Topic, customer: Int64Array, values: list[bytes]) -> Events:
        return Events(np.full(len(values), topic, np.uint8), customer, self.ids[customer].tolist(), values)

    def _mixed(self, customer: Int64Array, edge: tuple[int, int]) -> Events:
        rng, n = self._rng, len(customer)
        times = np.linspace(edge[0], edge[1], n, endpoint=False).astype(np.int64)
        traits = _PERSONAS[self.persona[customer]]
        shares = np.cumsum(traits[:, :3], axis=1)
        draw = rng.random(n)
        kind = (draw[:, None] >= shares).sum(axis=1)
        others = np.flatnonzero(kind == 3)
        kind[others] += rng.choice(4, len(others), p=_SHARE_OF_OTHERS)
        spread = rng.lognormal(0.0, 0.8, n)
        values = np.empty(n, dtype=object)
        for code in range(len(_KINDS)):
            rows = np.flatnonzero(kind == code)
            made = self._of_kind(code, customer[rows], times[rows], traits[rows], spread[rows])
            values[rows] = np.array(made, dtype=object)
        return Events(_TOPIC_OF_KIND[kind], customer, self.ids[customer].tolist(), values.tolist())

    def _of_kind(
        self,
        kind: int,
        customer: Int64Array,
        times: Int64Array,
        traits: npt.NDArray[np.float64],
        spread: npt.NDArray[np.float64],
    ) -> list[bytes]:
        rng, n = self._rng, len(customer)
        roaming = _BOOL[(rng.random(n) < traits[:, 5]).astype(int)].tolist()
        abroad = _BOOL[(rng.random(n) < traits[:, 6]).astype(int)].tolist()
        direction = _DIRECTION[rng.integers(0, 2, n)].tolist()
        if kind == 0:
            sizes, technology = (traits[:, 3] * spread).tolist(), _TECHNOLOGY[rng.integers(0, 2, n)]
            return self._records(_DATA, customer, times, sizes, roaming, technology.tolist())
        if kind == 1:
            seconds = (traits[:, 4] * spread).tolist()
            return self._records(_VOICE, customer, times, seconds, direction, abroad, roaming)
        if kind == 2:
            counts = (1 + spread).astype(int).tolist()
            return self._records(_SMS, customer, times, counts, direction, abroad, roaming)
        amount = (10.0 + 8.0 * spread).tolist()
        if kind == 3:
            return self._records(_TOPUP, customer, times, amount)
        if kind == 4:
            return self._records(_PAYMENT, customer, times, amount, rng.integers(0, 12, n).tolist())
        if kind == 5:
            return self._records(_INVOICE, customer, times, amount)
        return self._records(_CARE, customer, times, _CHANNEL[rng.integers(0, 3, n)].tolist())

    def _records(
        self, template: bytes, customer: Int64Array, times: Int64Array, *more: list[Any]
    ) -> list[bytes]:
        n = len(customer)
        prefix = self._prefix
        event_ids = [b"%b%015d" % (prefix, i) for i in range(self._made, self._made + n)]
        self._made += n
        stamps = np.datetime_as_string(times.astype("M8[us]"), unit="ms").astype("S23").tolist()
        keys = self.ids[customer].tolist()
        return [template % fields for fields in zip(event_ids, keys, stamps, *more, strict=True)]

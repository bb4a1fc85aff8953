"""JSON text of events: one list comprehension of f-strings per event type.

Building lines from columns costs about 0.6 us each; `json.dumps` of a dict costs 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import count, product

import numpy as np
import numpy.typing as npt

from consumer.simulator.billing import EPOCH, Invoices, Payments
from consumer.simulator.traits import FloatArray, IntArray, ObjectArray
from schemas.times import format_time

MINUTE_US = 60_000_000
_SECONDS = np.array([f"{s:02d}.{ms:03d}Z" for s in range(60) for ms in range(1000)], object)
_BOOLEAN = ("false", "true")
_DATA_TAIL = np.array(
    [f',"roaming":{r},"technology":"{t}"}}' for r, t in product(_BOOLEAN, ("4G", "5G"))], object
)
_TALK_TAIL = np.array(
    [
        f',"direction":"{d}","international":{i},"roaming":{r}}}'
        for d, i, r in product(("outgoing", "incoming"), _BOOLEAN, _BOOLEAN)
    ],
    object,
)

Head = Iterator[tuple[int, str, str, str]]
Mask = npt.NDArray[np.bool_]


class Encoder:
    """JSON lines of the events of one chunk; event ids count up through the run.

    `prefix` begins every event id, `ids` object[n] are the customer ids. `start_us` (a whole
    minute) and `minutes` bound the event times of the chunk.
    """

    def __init__(self, prefix: str, ids: ObjectArray, first_event: int) -> None:
        self._prefix = prefix
        self._ids = ids
        self._next = first_event
        self._start_us = 0
        self._minutes = np.empty(0, object)

    @property
    def next_event(self) -> int:
        """Number of the next event."""
        return self._next

    def begin(self, start_us: int, minutes: int) -> None:
        """Begin a chunk whose event times are in `minutes` minutes from `start_us`."""
        self._start_us = start_us
        self._minutes = np.array([format_time(start_us + m * MINUTE_US)[:17] for m in range(minutes)], object)

    def _head(self, customer: IntArray, time_us: IntArray) -> Head:
        """Event number, customer id, and the two halves of the event time, per event."""
        first = self._next
        self._next += len(customer)
        minute, rest = np.divmod(time_us - self._start_us, MINUTE_US)
        return zip(
            count(first),
            self._ids[customer].tolist(),
            self._minutes[minute].tolist(),
            _SECONDS[rest // 1000].tolist(),
            strict=False,
        )

    def data(self, customer: IntArray, time_us: IntArray, megabytes: FloatArray, tail: IntArray) -> list[str]:
        """Data sessions; `tail` is 2 x roaming + 5G."""
        p = self._prefix
        return [
            f'{{"event_id":"{p}{e}","customer_id":"{c}","event_time":"{m}{s}",'
            f'"type":"data","megabytes":{x}{t}'
            for (e, c, m, s), x, t in zip(
                self._head(customer, time_us),
                np.round(megabytes, 3).tolist(),
                _DATA_TAIL[tail].tolist(),
                strict=False,
            )
        ]

    def voice(self, customer: IntArray, time_us: IntArray, seconds: IntArray, tail: IntArray) -> list[str]:
        """Calls; `tail` is 4 x incoming + 2 x international + roaming."""
        p = self._prefix
        return [
            f'{{"event_id":"{p}{e}","customer_id":"{c}","event_time":"{m}{s}",'
            f'"type":"voice","duration_seconds":{x}{t}'
            for (e, c, m, s), x, t in zip(
                self._head(customer, time_us),
                seconds.tolist(),
                _TALK_TAIL[tail].tolist(),
                strict=False,
            )
        ]

    def sms(self, customer: IntArray, time_us: IntArray, parts: IntArray, tail: IntArray) -> list[str]:
        """Text messages of `parts` parts; `tail` as for `voice`."""
        p = self._prefix
        return [
            f'{{"event_id":"{p}{e}","customer_id":"{c}","event_time":"{m}{s}","type":"sms","count":{x}{t}'
            for (e, c, m, s), x, t in zip(
                self._head(customer, time_us),
                parts.tolist(),
                _TALK_TAIL[tail].tolist(),
                strict=False,
            )
        ]

    def invoices(self, bills: Invoices, currency: str) -> list[str]:
        """Invoices with their period."""
        return self._lines(
            "invoice",
            bills.customer,
            bills.time_us,
            [
                f'"amount":{a:.2f},"currency":"{currency}",'
                f'"period_start":"{_day(b)}","period_end":"{_day(e)}"'
                for a, b, e in zip(
                    bills.amount.tolist(),
                    bills.period_start.tolist(),
                    bills.period_end.tolist(),
                    strict=True,
                )
            ],
        )

    def payments(self, paid: Payments, currency: str) -> list[str]:
        """Payments of invoices."""
        return self._lines(
            "payment",
            paid.customer,
            paid.time_us,
            [
                f'"amount":{a:.2f},"currency":"{currency}","days_late":{d}'
                for a, d in zip(paid.amount.tolist(), paid.days_late.tolist(), strict=True)
            ],
        )

    def others(self, kind: str, customer: IntArray, time_us: IntArray, rest: list[str]) -> list[str]:
        """Events of type `kind` whose own fields are the JSON fragments `rest` (not empty)."""
        return self._lines(kind, customer, time_us, rest)

    def _lines(self, kind: str, customer: IntArray, time_us: IntArray, rest: list[str]) -> list[str]:
        p = self._prefix
        return [
            f'{{"event_id":"{p}{e}","customer_id":"{c}","event_time":"{m}{s}","type":"{kind}",{r}}}'
            for (e, c, m, s), r in zip(self._head(customer, time_us), rest, strict=False)
        ]


def _day(days: int) -> str:
    return (EPOCH + timedelta(days=days)).isoformat()

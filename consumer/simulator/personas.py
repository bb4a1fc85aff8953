"""The planted customer types: parameters of behaviour, money and demographics, as a table.

Orders of magnitude follow public measurements: call durations are truncated log-logistic (median
40-60 s, shape 1.5), bytes per session and rates per customer are heavy-tailed, prepaid top-ups come
in denominations, and 1-3 % of customers are abroad on a day.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

#: Relative activity by hour of the day, 0-23 UTC; normalised where it is used.
DIURNAL: Final[dict[str, tuple[float, ...]]] = {
    "office": (
        *(0.3, 0.2, 0.1, 0.1, 0.2, 0.6, 2.0, 4.5, 8.0, 9.5, 9.0, 8.0),
        *(6.5, 7.0, 8.5, 9.0, 8.5, 7.0, 4.5, 3.0, 2.0, 1.4, 0.9, 0.5),
    ),
    "daytime": (
        *(0.1, 0.1, 0.1, 0.1, 0.2, 0.6, 2.0, 4.5, 7.5, 9.5, 10.0, 9.5),
        *(7.0, 6.0, 7.5, 8.5, 8.5, 8.0, 6.5, 4.5, 2.5, 1.0, 0.4, 0.2),
    ),
    "evening": (
        *(0.9, 0.4, 0.2, 0.2, 0.3, 0.8, 2.5, 4.5, 4.5, 3.8, 4.0, 4.5),
        *(5.0, 4.5, 4.5, 5.5, 7.0, 8.5, 9.0, 9.5, 8.5, 6.5, 4.0, 2.0),
    ),
    "late": (
        *(4.0, 2.6, 1.4, 0.7, 0.4, 0.4, 1.0, 2.2, 2.8, 3.0, 3.5, 4.2),
        *(5.0, 5.2, 5.6, 6.2, 6.8, 7.0, 6.8, 6.6, 6.6, 6.6, 6.2, 5.2),
    ),
    "night": (
        *(12.0, 10.5, 8.0, 5.0, 2.8, 1.2, 0.7, 0.6, 0.7, 0.9, 1.1, 1.4),
        *(1.6, 1.7, 1.9, 2.1, 2.4, 2.8, 3.4, 4.4, 6.0, 8.0, 9.8, 11.0),
    ),
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What a customer does: means per day and sizes of single events.

    `data`, `voice`, `sms` are events per day. `session_mb` is the median of the lognormal megabytes
    per session, `session_sigma` its log deviation. `call_s` is the median of the log-logistic call
    duration in seconds. `international` is the probability that a call or message goes abroad,
    `trips` the probability per week of a trip abroad of `trip_days` on average. `weekend` multiplies
    Saturdays and Sundays. `spread` is the log deviation of a customer's overall rate.
    """

    data: float
    voice: float
    sms: float
    session_mb: float
    session_sigma: float = 1.5
    call_s: float = 48.0
    international: float = 0.01
    trips: float = 0.02
    trip_days: float = 4.0
    diurnal: str = "evening"
    weekend: float = 1.0
    spread: float = 0.5


@dataclass(frozen=True, slots=True)
class Money:
    """What a customer pays: line, plan, bills, top-ups, delays.

    `postpaid` is the probability of a postpaid line, `price` the median bill per 30 days.
    `contracts` are weights of month-to-month, one-year and two-year. `late` is the mean probability
    of paying late and `late_days` the mean delay then. `topups` are per day (prepaid only), of
    `denominations` weighted by `denomination_weights`.
    """

    postpaid: float
    plan: str
    price: float
    contracts: tuple[float, float, float]
    payment_methods: tuple[float, float, float, float]
    late: float = 0.08
    late_days: float = 6.0
    topups: float = 0.1
    denominations: tuple[int, ...] = (5, 10, 15, 20, 30)
    denomination_weights: tuple[float, ...] = (0.25, 0.4, 0.15, 0.15, 0.05)


@dataclass(frozen=True, slots=True)
class Person:
    """Who a customer is: age (mean, deviation), median income per year, tenure, services, care.

    `tenure_days` is the median of a lognormal. `services` maps a service to its probability.
    `care` is contacts per day. `female` is a probability.
    """

    age: tuple[float, float]
    income: float
    tenure_days: float
    services: dict[str, float] = field(default_factory=dict)
    care: float = 0.006
    female: float = 0.5
    technology_5g: float = 0.4


@dataclass(frozen=True, slots=True)
class Persona:
    """A planted customer type with its share of the population."""

    name: str
    share: float
    usage: Usage
    money: Money
    person: Person

    def with_share(self, share: float) -> Persona:
        """The same persona with another share."""
        return replace(self, share=share)


CONTRACTS: Final = ("month-to-month", "one-year", "two-year")
PAYMENT_METHODS: Final = ("direct-debit", "credit-card", "invoice", "voucher")
REGIONS: Final = ("north", "south", "east", "west", "capital")
REGION_WEIGHTS: Final = (0.22, 0.2, 0.16, 0.17, 0.25)
#: Order of the service bits and of `services` in profile events.
SERVICES: Final = (
    *("mobile-data", "voice-flat", "sms-flat", "music", "video", "gaming", "cloud"),
    *("roaming-pass", "international-pass", "tv", "fixed-internet", "family-sharing", "insurance"),
)

PERSONAS: Final = (
    Persona(
        "data_heavy_young",
        0.18,
        Usage(15.0, 1.3, 1.4, 24.0, diurnal="late", weekend=1.25, call_s=40.0),
        Money(0.94, "unlimited-5g", 34.0, (0.8, 0.17, 0.03), (0.45, 0.45, 0.1, 0.0), late=0.2),
        Person(
            (24.0, 4.0),
            24_000.0,
            380.0,
            {"mobile-data": 1.0, "music": 0.8, "gaming": 0.55, "video": 0.4, "cloud": 0.3},
            technology_5g=0.85,
        ),
    ),
    Persona(
        "voice_traditional",
        0.16,
        Usage(1.3, 7.0, 0.7, 2.5, diurnal="daytime", weekend=0.9, call_s=60.0),
        Money(0.95, "talk-classic", 19.0, (0.08, 0.27, 0.65), (0.55, 0.05, 0.4, 0.0), late=0.03),
        Person(
            (67.0, 8.0),
            27_000.0,
            2600.0,
            {"voice-flat": 0.9, "fixed-internet": 0.35, "insurance": 0.2},
            care=0.012,
            female=0.55,
            technology_5g=0.1,
        ),
    ),
    Persona(
        "business_traveller",
        0.1,
        Usage(
            *(8.5, 7.0, 2.2, 9.0),
            international=0.22,
            trips=0.42,
            trip_days=2.0,
            diurnal="office",
            weekend=0.35,
            call_s=55.0,
        ),
        Money(0.98, "business-roam", 74.0, (0.05, 0.2, 0.75), (0.7, 0.25, 0.05, 0.0), late=0.04),
        Person(
            (44.0, 8.0),
            78_000.0,
            1300.0,
            {"mobile-data": 0.95, "roaming-pass": 0.9, "voice-flat": 0.8, "cloud": 0.6},
            female=0.4,
            technology_5g=0.75,
        ),
    ),
    Persona(
        "light_prepaid",
        0.17,
        Usage(1.1, 1.0, 0.5, 3.5, diurnal="evening", weekend=1.05, call_s=42.0, spread=0.55),
        Money(0.04, "prepaid-basic", 14.0, (0.97, 0.02, 0.01), (0.02, 0.28, 0.0, 0.7), topups=0.09),
        Person(
            (49.0, 16.0),
            19_000.0,
            700.0,
            {"mobile-data": 0.3},
            care=0.003,
            technology_5g=0.15,
        ),
    ),
    Persona(
        "family_bundle",
        0.14,
        Usage(6.5, 3.2, 2.6, 22.0, diurnal="evening", weekend=1.4, international=0.02),
        Money(0.98, "family-max", 92.0, (0.06, 0.34, 0.6), (0.75, 0.15, 0.1, 0.0), late=0.07),
        Person(
            (43.0, 6.0),
            52_000.0,
            1700.0,
            {
                "mobile-data": 0.95,
                "fixed-internet": 0.9,
                "tv": 0.85,
                "family-sharing": 0.95,
                "voice-flat": 0.7,
                "insurance": 0.45,
                "video": 0.5,
                "cloud": 0.3,
            },
            care=0.014,
            technology_5g=0.6,
        ),
    ),
    Persona(
        "night_streamer",
        0.09,
        Usage(
            *(6.0, 0.55, 0.4, 180.0),
            session_sigma=1.1,
            diurnal="night",
            weekend=1.1,
            call_s=42.0,
        ),
        Money(0.93, "unlimited-5g", 41.0, (0.75, 0.2, 0.05), (0.4, 0.55, 0.05, 0.0), late=0.16),
        Person(
            (31.0, 8.0),
            30_000.0,
            520.0,
            {"mobile-data": 1.0, "video": 0.9, "gaming": 0.5, "music": 0.4},
            care=0.008,
            female=0.4,
            technology_5g=0.8,
        ),
    ),
    Persona(
        "texter",
        0.07,
        Usage(2.6, 0.8, 11.0, 4.0, diurnal="late", weekend=1.1, call_s=40.0),
        Money(0.05, "prepaid-text", 16.0, (0.95, 0.04, 0.01), (0.05, 0.4, 0.0, 0.55), topups=0.14),
        Person(
            (21.0, 4.0),
            15_000.0,
            330.0,
            {"sms-flat": 0.9, "mobile-data": 0.5, "music": 0.3},
            female=0.6,
        ),
    ),
    Persona(
        "international_caller",
        0.09,
        Usage(3.2, 4.6, 1.2, 7.0, international=0.55, trips=0.04, trip_days=6.0, call_s=60.0),
        Money(
            *(0.04, "prepaid-world", 25.0, (0.95, 0.04, 0.01), (0.05, 0.3, 0.0, 0.65)),
            topups=0.3,
            denominations=(5, 10, 15, 20),
            denomination_weights=(0.35, 0.45, 0.1, 0.1),
        ),
        Person(
            (35.0, 9.0),
            22_000.0,
            450.0,
            {"international-pass": 0.8, "mobile-data": 0.5},
            care=0.009,
            female=0.45,
            technology_5g=0.3,
        ),
    ),
)

"""The input contract as msgspec structs: what the hot path decodes.

The published contract is `schemas.events`; a property test proves that both accept the same records.
Three things are checked on whole columns in `schemas.structs` instead of here, where each would cost
a call per event: identifiers, times and the currency. Fields that play the same role have the same
attribute name (`value`), so that a column is one pass over events of any type.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from schemas import limits
from schemas.batch import Kind

Text = Annotated[str, Meta(min_length=1, max_length=limits.TEXT_LENGTH)]
LongText = Annotated[str, Meta(min_length=1, max_length=limits.LONG_TEXT_LENGTH)]
Direction = Literal["outgoing", "incoming"]
Megabytes = Annotated[float, Meta(ge=0, le=limits.MEGABYTES)]
Seconds = Annotated[float, Meta(ge=0, le=limits.SECONDS)]
Count = Annotated[int, Meta(ge=1, le=limits.COUNT)]
Amount = Annotated[float, Meta(ge=-limits.AMOUNT, le=limits.AMOUNT)]
MegabytesChange = Annotated[float, Meta(ge=-limits.MEGABYTES, le=limits.MEGABYTES)]
SecondsChange = Annotated[float, Meta(ge=-limits.SECONDS, le=limits.SECONDS)]
CountChange = Annotated[int, Meta(ge=-limits.COUNT, le=limits.COUNT)]


class Code(IntEnum):
    """Struct classes by number: the codes of `Kind`, and one for corrections of any kind."""

    DATA = Kind.DATA
    VOICE = Kind.VOICE
    SMS = Kind.SMS
    INVOICE = Kind.INVOICE
    PAYMENT = Kind.PAYMENT
    TOPUP = Kind.TOPUP
    PROFILE = Kind.PROFILE
    CARE_CONTACT = Kind.CARE_CONTACT
    CLOSED = Kind.CLOSED
    FORGET = Kind.FORGET
    CORRECTION = 10


class WireEvent(msgspec.Struct, frozen=True, gc=False, tag_field="type"):
    """Fields of every event."""

    code: ClassVar[int]
    event_id: str
    customer_id: str
    event_time: str


class Data(WireEvent, frozen=True, gc=False, tag="data", kw_only=True):
    """A data session."""

    code: ClassVar[int] = Code.DATA
    value: Megabytes = field(name="megabytes")
    roaming: bool = False
    technology: Text | None = None


class Voice(WireEvent, frozen=True, gc=False, tag="voice", kw_only=True):
    """A call."""

    code: ClassVar[int] = Code.VOICE
    value: Seconds = field(name="duration_seconds")
    direction: Direction = "outgoing"
    international: bool = False
    roaming: bool = False


class Sms(WireEvent, frozen=True, gc=False, tag="sms", kw_only=True):
    """Text messages."""

    code: ClassVar[int] = Code.SMS
    value: Count = field(name="count", default=1)
    direction: Direction = "outgoing"
    international: bool = False
    roaming: bool = False


class Correction(WireEvent, frozen=True, gc=False, tag="correction", kw_only=True):
    """A signed difference to an earlier usage event."""

    code: ClassVar[int] = Code.CORRECTION
    value: ClassVar[float] = 0.0
    corrects_event_id: str
    type_corrected: Literal["data", "voice", "sms"]
    megabytes: MegabytesChange | None = None
    duration_seconds: SecondsChange | None = None
    count: CountChange | None = None
    roaming: bool = False
    international: bool = False
    direction: Direction = "outgoing"
    technology: Text | None = None


class Invoice(WireEvent, frozen=True, gc=False, tag="invoice", kw_only=True):
    """A bill, or a credit note where negative."""

    code: ClassVar[int] = Code.INVOICE
    roaming: ClassVar[bool] = False
    value: Amount = field(name="amount")
    currency: str
    period_start: str | None = None
    period_end: str | None = None


class Payment(WireEvent, frozen=True, gc=False, tag="payment", kw_only=True):
    """A payment of a bill."""

    code: ClassVar[int] = Code.PAYMENT
    roaming: ClassVar[bool] = False
    value: Amount = field(name="amount")
    currency: str
    days_late: Annotated[float, Meta(ge=0, le=limits.DAYS_LATE)] = 0.0


class Topup(WireEvent, frozen=True, gc=False, tag="topup", kw_only=True):
    """A prepaid top-up."""

    code: ClassVar[int] = Code.TOPUP
    roaming: ClassVar[bool] = False
    value: Amount = field(name="amount")
    currency: str


class Profile(WireEvent, frozen=True, gc=False, tag="profile", kw_only=True):
    """Changed customer attributes: absent = unchanged, null = cleared."""

    code: ClassVar[int] = Code.PROFILE
    roaming: ClassVar[bool] = False
    value: ClassVar[float] = 0.0
    activated_on: str | UnsetType | None = UNSET
    age: Annotated[int, Meta(ge=0, le=limits.AGE)] | UnsetType | None = UNSET
    income: Annotated[float, Meta(ge=0, le=limits.AMOUNT)] | UnsetType | None = UNSET
    gender: Text | UnsetType | None = UNSET
    region: Text | UnsetType | None = UNSET
    plan: Text | UnsetType | None = UNSET
    contract: Text | UnsetType | None = UNSET
    line_type: Literal["prepaid", "postpaid"] | UnsetType | None = UNSET
    payment_method: Text | UnsetType | None = UNSET
    services: Annotated[list[Text], Meta(max_length=limits.SERVICES)] | UnsetType | None = UNSET
    consent_profiling: bool | UnsetType | None = UNSET


class CareContact(WireEvent, frozen=True, gc=False, tag="care_contact", kw_only=True):
    """A contact with customer care."""

    code: ClassVar[int] = Code.CARE_CONTACT
    roaming: ClassVar[bool] = False
    value: ClassVar[float] = 1.0
    channel: Text
    reason: LongText | None = None


class Closed(WireEvent, frozen=True, gc=False, tag="closed", kw_only=True):
    """The customer leaves."""

    code: ClassVar[int] = Code.CLOSED
    roaming: ClassVar[bool] = False
    value: ClassVar[float] = 0.0
    reason: LongText | None = None


class Forget(WireEvent, frozen=True, gc=False, tag="forget", kw_only=True):
    """Erasure of the customer's data."""

    code: ClassVar[int] = Code.FORGET
    roaming: ClassVar[bool] = False
    value: ClassVar[float] = 0.0


AnyEvent = (
    Data | Voice | Sms | Correction | Invoice | Payment | Topup | Profile | CareContact | Closed | Forget
)

#: Decodes one record; raises `ValueError` (msgspec, UTF-8), `TypeError` (None) or `RecursionError`.
DECODER: Final[msgspec.json.Decoder[AnyEvent]] = msgspec.json.Decoder(AnyEvent)

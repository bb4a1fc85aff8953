"""Input contract v1: the published models of the events the segmenter reads.

One JSON object per record, record key = `customer_id`. Values are strict (no numeric strings, no
booleans as numbers), unknown fields are ignored. The hot path decodes with `schemas.wire`; these
models are what JSON Schema, documentation and the words of a rejection come from.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    model_validator,
)
from pydantic_core import PydanticCustomError

from schemas import limits, times
from schemas.batch import Topic


def _real_time(text: str) -> str:
    if times.parse_time(text) is None:
        raise PydanticCustomError("bad_time", "not a UTC time like 2026-03-01T12:00:00.123Z in 1970-2199")
    return text


def _real_day(text: str) -> str:
    if times.parse_day(text) is None:
        raise PydanticCustomError("bad_time", "not a date like 2026-03-01 in 1900-2199")
    return text


def _number(low: float, high: float) -> Any:
    return Field(ge=low, le=high, allow_inf_nan=False)


Id = Annotated[str, Field(pattern=limits.ID_PATTERN, json_schema_extra={"maxLength": 64})]
Text = Annotated[str, StringConstraints(min_length=1, max_length=limits.TEXT_LENGTH)]
LongText = Annotated[str, StringConstraints(min_length=1, max_length=limits.LONG_TEXT_LENGTH)]
Time = Annotated[
    str,
    AfterValidator(_real_time),
    Field(json_schema_extra={"format": "date-time", "pattern": times.TIME_PATTERN}),
]
Day = Annotated[
    str,
    AfterValidator(_real_day),
    Field(json_schema_extra={"format": "date", "pattern": times.DAY_PATTERN}),
]
Currency = Annotated[str, Field(pattern=limits.CURRENCY_PATTERN)]
Direction = Literal["outgoing", "incoming"]
Amount = Annotated[float, _number(-limits.AMOUNT, limits.AMOUNT)]


class _Event(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    event_id: Id = Field(description="Unique per event; a repeat is counted and dropped.")
    customer_id: Id = Field(description="The customer; equal to the record key.")
    event_time: Time = Field(description="When it happened, RFC 3339, UTC.")


class DataUsage(_Event):
    """A data session."""

    type: Literal["data"]
    megabytes: Annotated[float, _number(0, limits.MEGABYTES)]
    roaming: bool = False
    technology: Text | None = None


class VoiceUsage(_Event):
    """A call."""

    type: Literal["voice"]
    duration_seconds: Annotated[float, _number(0, limits.SECONDS)]
    direction: Direction = "outgoing"
    international: bool = False
    roaming: bool = False


class SmsUsage(_Event):
    """Text messages."""

    type: Literal["sms"]
    count: Annotated[int, Field(ge=1, le=limits.COUNT)] = 1
    direction: Direction = "outgoing"
    international: bool = False
    roaming: bool = False


#: The measure that each correctable type carries.
MEASURES: Final = {"data": "megabytes", "voice": "duration_seconds", "sms": "count"}


class Correction(_Event):
    """A signed difference to an earlier usage event, with that event's time and attributes.

    Carries exactly the measure of `type_corrected`: megabytes, duration_seconds or count.
    """

    type: Literal["correction"]
    corrects_event_id: Id
    type_corrected: Literal["data", "voice", "sms"]
    megabytes: Annotated[float, _number(-limits.MEGABYTES, limits.MEGABYTES)] | None = None
    duration_seconds: Annotated[float, _number(-limits.SECONDS, limits.SECONDS)] | None = None
    count: Annotated[int, Field(ge=-limits.COUNT, le=limits.COUNT)] | None = None
    roaming: bool = False
    international: bool = False
    direction: Direction = "outgoing"
    technology: Text | None = None

    @model_validator(mode="after")
    def _one_measure(self) -> Self:
        carried = {name for name in MEASURES.values() if getattr(self, name) is not None}
        if carried != {MEASURES[self.type_corrected]}:
            raise PydanticCustomError(
                "measure",
                "a correction of {type} carries {measure} and no other measure",
                {"type": self.type_corrected, "measure": MEASURES[self.type_corrected]},
            )
        return self


class Invoice(_Event):
    """A bill for a period, or a credit note where the amount is negative."""

    type: Literal["invoice"]
    amount: Amount
    currency: Currency
    period_start: Day | None = Field(None, description="First day of the billed period.")
    period_end: Day | None = Field(None, description="Day after the billed period.")

    @model_validator(mode="after")
    def _period_is_not_empty(self) -> Self:
        if self.period_start and self.period_end and self.period_end <= self.period_start:
            raise PydanticCustomError("period", "period_end is not after period_start")
        return self


class Payment(_Event):
    """A payment of a bill."""

    type: Literal["payment"]
    amount: Amount
    currency: Currency
    days_late: Annotated[float, _number(0, limits.DAYS_LATE)] = 0


class Topup(_Event):
    """A prepaid top-up."""

    type: Literal["topup"]
    amount: Amount
    currency: Currency


class Profile(_Event):
    """Changed customer attributes: an absent field is unchanged, null clears it."""

    type: Literal["profile"]
    activated_on: Day | None = None
    age: Annotated[int, Field(ge=0, le=limits.AGE)] | None = None
    income: Annotated[float, _number(0, limits.AMOUNT)] | None = None
    gender: Text | None = None
    region: Text | None = None
    plan: Text | None = None
    contract: Text | None = None
    line_type: Literal["prepaid", "postpaid"] | None = None
    payment_method: Text | None = None
    services: Annotated[list[Text], Field(max_length=limits.SERVICES)] | None = None
    consent_profiling: bool | None = None


class CareContact(_Event):
    """A contact with customer care."""

    type: Literal["care_contact"]
    channel: Text
    reason: LongText | None = None


class Closed(_Event):
    """The customer leaves: an `exited` change is published and the state dropped."""

    type: Literal["closed"]
    reason: LongText | None = None


class Forget(_Event):
    """Erasure: the state is dropped, tombstones are published, no change event."""

    type: Literal["forget"]


UsageEvent = Annotated[DataUsage | VoiceUsage | SmsUsage | Correction, Field(discriminator="type")]
BillingEvent = Annotated[Invoice | Payment | Topup, Field(discriminator="type")]
CustomerEvent = Annotated[Profile | CareContact | Closed | Forget, Field(discriminator="type")]
Event = Annotated[UsageEvent | BillingEvent | CustomerEvent, Field(discriminator="type")]

#: Validates one event of any topic.
EVENT: Final[TypeAdapter[Any]] = TypeAdapter(Event)

#: The model of each type.
MODELS: Final[dict[str, type[BaseModel]]] = {
    get_args(model.model_fields["type"].annotation)[0]: model
    for model in (
        DataUsage, VoiceUsage, SmsUsage, Correction, Invoice, Payment, Topup, Profile, CareContact, Closed,
        Forget,
    )
}  # fmt: skip

#: Topic that each type belongs to.
TOPIC_OF_TYPE: Final = {
    "data": Topic.USAGE,
    "voice": Topic.USAGE,
    "sms": Topic.USAGE,
    "correction": Topic.USAGE,
    "invoice": Topic.BILLING,
    "payment": Topic.BILLING,
    "topup": Topic.BILLING,
    "profile": Topic.CUSTOMER,
    "care_contact": Topic.CUSTOMER,
    "closed": Topic.CUSTOMER,
    "forget": Topic.CUSTOMER,
}

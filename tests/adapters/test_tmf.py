"""The adapter of TM Forum documents: differences, not repetitions; rejects with reasons; nothing raises."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters import Rejected, TmfAdapter, TmfMemory, load_mapping
from consumer.adapters.tmf import revision_id
from consumer.adapters.tmf_mapping import DEFAULT
from consumer.brokers import Broker
from consumer.cli import execute
from consumer.errors import DataError, SpecError
from consumer.exit_codes import ExitCode
from consumer.topics import TopicNames
from schemas.limits import ID_LENGTH
from tests.adapters.twin import Document
from tests.conftest import create_topic

MAPPING = load_mapping()
TIME = "2026-02-06T11:15:00Z"


_OPEN: list[TmfMemory] = []


@pytest.fixture(scope="module", autouse=True)
def memories() -> Iterator[None]:
    """Closes what the tests opened."""
    yield
    for memory in _OPEN:
        memory.__exit__()


def adapter() -> TmfAdapter:
    """One that knows nothing yet."""
    _OPEN.append(TmfMemory())
    return TmfAdapter(MAPPING, _OPEN[-1], "EUR")


def usage(amount: Any = 10, status: str = "rated", kind: str = "data", **more: Any) -> Document:
    """A usage of c-1; `more` are characteristics."""
    measure = {"data": "volume", "voice": "duration", "sms": "count"}[kind]
    values = {measure: amount} | more
    return {
        "id": "u-1", "usageDate": TIME, "usageType": kind, "status": status,
        "usageCharacteristic": [{"name": name, "value": value} for name, value in values.items()],
        "relatedParty": [{"id": "c-1", "role": "customer"}],
    }  # fmt: skip


def bill(amount: float = 30, state: str = "sent", **more: Any) -> Document:
    """A bill of c-1."""
    return {
        "@type": "CustomerBill", "id": "b-1", "billDate": TIME, "state": state,
        "taxIncludedAmount": {"unit": "EUR", "value": amount},
        "relatedParty": [{"id": "c-1", "role": "customer"}],
        **more,
    }  # fmt: skip


def customer(kind: str, **fields: Any) -> Document:
    """A customer event of c-1."""
    return {
        "eventId": "m-1",
        "eventTime": TIME,
        "eventType": kind,
        "event": {"customer": {"id": "c-1", **fields}},
    }


def events(adapting: TmfAdapter, document: Any) -> list[dict[str, Any]]:
    """The events of a document that is not refused."""
    made = adapting.adapt(json.dumps(document).encode())
    assert not isinstance(made, Rejected), made
    return made


def reason(document: Any) -> tuple[str, str]:
    """Why a document is refused."""
    made = adapter().adapt(json.dumps(document).encode())
    assert isinstance(made, Rejected)
    return str(made.reason), made.detail


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["received", "rated", "rerated", "billed", "rejected", "recycled"]),
            st.integers(0, 50),
            st.booleans(),
        ),
        max_size=12,
    )
)
def test_what_was_published_adds_up_to_the_last_version(versions: list[tuple[str, int, bool]]) -> None:
    """Whatever a usage goes through: its events add up to what it is now, abroad and at home."""
    adapting = adapter()
    sums = {False: 0.0, True: 0.0}
    ids: set[str] = set()
    for event in events(adapting, usage(7, roaming=False)):
        sums[False] += event["megabytes"]
        ids.add(event["event_id"])
    for status, amount, roaming in versions:
        made = events(adapting, usage(amount, status, roaming=roaming))
        for event in made:
            sums[event["roaming"]] += event["megabytes"]
            assert event["type"] == "correction"
            assert event["corrects_event_id"] == "u-1"
            assert event["event_id"] not in ids
            ids.add(event["event_id"])
        taken_back = status in {"rejected", "recycled"}
        assert sums[roaming] == pytest.approx(0 if taken_back else amount) or taken_back
        assert sum(sums.values()) == pytest.approx(0 if taken_back else amount)
        assert events(adapting, usage(amount, status, roaming=roaming)) == []
    counts = adapting.counts
    assert counts["documents"] == counts["adapted"] + counts["unchanged"] + counts["rejected"]


def test_a_usage_that_turns_out_to_be_of_another_customer_moves() -> None:
    """Taken back there, new here, under an id of its own."""
    adapting = adapter()
    events(adapting, usage(10))
    other = usage(10) | {"relatedParty": [{"id": "c-2", "role": "customer"}]}
    back, new = events(adapting, other)
    assert (back["customer_id"], back["type"], back["megabytes"]) == ("c-1", "correction", -10)
    assert (new["customer_id"], new["type"], new["megabytes"]) == ("c-2", "data", 10)
    assert events(adapting, other) == []
    [less] = events(adapting, usage(4, "rerated") | {"relatedParty": other["relatedParty"]})
    assert (less["customer_id"], less["megabytes"]) == ("c-2", -6)
    assert len({back["event_id"], new["event_id"], less["event_id"], "u-1"}) == 4


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (12.5, 12.5), ("12.5", 12.5), ("1.5 GB", 1500), ("2 MiB", 2.097152),
        ({"amount": 3, "units": "GB"}, 3000), ({"value": 5, "unit": "kB"}, 0.005),
    ],
)  # fmt: skip
def test_quantities_have_units(value: Any, expected: float) -> None:
    """A number, a text with or without unit, an object."""
    [event] = events(adapter(), usage(value))
    assert event["megabytes"] == pytest.approx(expected)


def test_times_come_to_utc() -> None:
    """With any offset; one in the contract's form stays as it is."""
    [event] = events(adapter(), usage() | {"usageDate": "2026-02-06T12:15:00.5+01:00"})
    assert event["event_time"] == "2026-02-06T11:15:00.500Z"
    assert events(adapter(), usage())[0]["event_time"] == TIME


def test_a_bill_that_changes_is_a_credit_note_and_its_payment_counts_once() -> None:
    """New and on hold it waits; then it is an invoice, and what changes is the difference."""
    adapting = adapter()
    assert events(adapting, bill(state="new")) == []
    [invoice] = events(adapting, bill(30))
    assert (invoice["type"], invoice["amount"], invoice["event_id"]) == ("invoice", 30, "b-1")
    paid = bill(
        25, "settled", lastUpdate="2026-02-10T11:15:00Z", paymentDueDate="2026-02-08T00:00:00Z",
        appliedPayment=[{"appliedAmount": {"unit": "EUR", "value": 25}, "payment": {"id": "p-1"}}],
    )  # fmt: skip
    credit, payment = events(adapting, paid)
    assert (credit["type"], credit["amount"], credit["event_id"]) == ("invoice", -5, "b-1.1")
    assert (payment["type"], payment["amount"], payment["days_late"]) == ("payment", 25, 2)
    assert events(adapting, paid) == []
    assert adapting.counts == {"documents": 4, "events": 3, "adapted": 2, "waiting": 1, "unchanged": 1}


def test_customer_events_are_profiles_ends_and_erasures() -> None:
    """Null clears, absent changes nothing; a deletion also takes away what the adapter knows."""
    adapting = adapter()
    events(adapting, usage(10))
    [profile] = events(
        adapting,
        customer(
            "CustomerAttributeValueChangeEvent",
            characteristic=[
                {"name": "Age", "value": "41"}, {"name": "region", "value": None},
                {"name": "profilingConsent", "value": "no"}, {"name": "shoeSize", "value": 43},
            ],
            validFor={"startDateTime": "2020-05-01T00:00:00+02:00"},
        ),
    )  # fmt: skip
    assert profile == {
        "event_id": "m-1", "customer_id": "c-1", "event_time": TIME, "type": "profile", "age": 41,
        "region": None, "consent_profiling": False, "activated_on": "2020-05-01",
    }  # fmt: skip
    ended = customer("CustomerStateChangeEvent", status="Terminated") | {"eventId": "m-2"}
    [closed] = events(adapting, ended)
    assert closed["type"] == "closed"
    assert events(adapting, ended) == []
    assert events(adapting, customer("CustomerStateChangeEvent", status="active")) == []
    [forget] = events(adapting, customer("CustomerDeleteEvent"))
    assert forget["type"] == "forget"
    assert adapting.memory.get("usage", "u-1") is None


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], ("schema", "not a JSON object")),
        ({"event": {"order": {}}}, ("unknown_type", "none of usage")),
        (usage(kind="sms", amount=1.5), ("schema", "not a number of messages")),
        (usage(direction="sideways", kind="voice"), ("schema", "sideways")),
        (usage(roaming="perhaps"), ("schema", "roaming")),
        (usage("nan"), ("schema", "not a quantity")),
        (usage(10**400), ("non_finite", "finite")),
        (usage(10**200), ("out_of_range", "megabytes")),
        (usage() | {"id": "x" * 65}, ("schema", "event_id")),
        (
            bill(billingPeriod={"startDateTime": TIME, "endDateTime": "9999-12-31T23:59:59Z"}),
            ("out_of_range", "")
        ),
        (bill(appliedPayment=[{"payment": {"id": "p"}}]), ("schema", "lastUpdate")),
        (bill(taxIncludedAmount={"value": 3}), ("schema", "unit and value")),
        ({"@type": "Customer", "id": "c-1"}, ("schema", "eventTime")),
        (
            customer("CustomerCreateEvent", characteristic=[{"name": "age", "value": 300}]),
            ("out_of_range", "age")
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_reason(document: Any, expected: tuple[str, str]) -> None:
    """The reasons of the contract, and words that name the field."""
    code, detail = reason(document)
    assert code == expected[0]
    assert expected[1] in detail


_FIELDS = (
    "id", "usageDate", "usageType", "usageCharacteristic", "relatedParty", "status", "billDate",
    "billingPeriod", "state", "event", "eventTime", "eventType", "taxIncludedAmount", "appliedPayment",
    "lastUpdate", "paymentDueDate", "@type",
)  # fmt: skip

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(TIME),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from([usage(), bill(), bill(appliedPayment=[{}]), customer("CustomerCreateEvent")]),
    st.dictionaries(
        st.sampled_from(_FIELDS),
        _JSON,
        max_size=4,
    ),
)
def test_no_document_raises(document: Document, changed: dict[str, Any]) -> None:
    """Any value in any place is an event, nothing or a reject."""
    adapting = adapter()
    adapting.adapt(json.dumps(document | changed).encode())
    assert adapting.counts["documents"] == 1
    assert sum(adapting.counts[name] for name in ("adapted", "unchanged", "waiting", "rejected")) == 1


@given(st.binary(max_size=60))
def test_no_bytes_raise(value: bytes) -> None:
    """Nor do bytes that are no JSON."""
    assert isinstance(adapter().adapt(value), Rejected)


def test_revisions_have_short_ids_of_their_own() -> None:
    """Also for the longest id that a usage can have."""
    long = ["x" * 63 + end for end in "ab"]
    made = {revision_id(name, revision) for name in long for revision in range(1, 4)}
    assert len(made) == 6
    assert max(map(len, made)) <= ID_LENGTH


def test_a_second_run_goes_on_with_the_state_of_the_first(tmp_path: Path, capfdbinary: Any) -> None:
    """Two runs with --state publish what one does; without it the re-rated usage is refused."""
    first, second = tmp_path / "1.ndjson", tmp_path / "2.json"
    first.write_text(json.dumps(usage(10)) + "\n\n")
    second.write_text(json.dumps([usage(4, "rerated"), bill(30)], indent=1))
    state, rejects = ["--state", str(tmp_path / "state")], ["--rejects", str(tmp_path / "rejects")]
    both = [["adapt", "tmf", str(path), *state, *rejects] for path in (first, second)]
    assert [execute(arguments) for arguments in both] == [ExitCode.OK, ExitCode.OK]
    published = capfdbinary.readouterr().out
    assert (tmp_path / "rejects").read_bytes() == b""
    assert execute(["adapt", "tmf", str(first), str(second)]) == ExitCode.OK
    assert capfdbinary.readouterr().out == published
    assert [json.loads(line)["type"] for line in published.splitlines()] == ["data", "correction", "invoice"]
    assert execute(["adapt", "tmf", str(second), "-o", str(tmp_path / "out"), *rejects]) == ExitCode.OK
    assert json.loads((tmp_path / "rejects").read_bytes())["reason"] == "unknown_original"


def test_events_go_to_the_input_topics(
    embedded_broker: Broker, new_name: Callable[[str], str], tmp_path: Path
) -> None:
    """Each to the topic of its type, keyed by customer; what cannot be delivered is an error."""
    prefix = f"{new_name('tmf')}."
    names = TopicNames.with_prefix(prefix)
    for topic in names.inputs:
        create_topic(embedded_broker, topic, 2)
    path = tmp_path / "documents.json"
    path.write_text(json.dumps([usage(10), bill(30), customer("CustomerStateChangeEvent", status="closed")]))
    arguments = ["adapt", "tmf", str(path), "--kafka", "--bootstrap", embedded_broker.bootstrap]
    assert execute([*arguments, "--set", f"topics.prefix={prefix}"]) == ExitCode.OK
    reader = Consumer({"bootstrap.servers": embedded_broker.bootstrap, "group.id": "r"})
    reader.assign(
        [TopicPartition(topic, part, OFFSET_BEGINNING) for topic in names.inputs for part in (0, 1)]
    )
    found: list[Message] = []
    end = time.monotonic() + 30
    while len(found) < 3 and time.monotonic() < end:
        found += reader.consume(10, 0.5)
    reader.close()
    assert {message.topic(): json.loads(message.value() or b"")["type"] for message in found} == {
        names.usage: "data", names.billing: "invoice", names.customer: "closed",
    }  # fmt: skip
    assert {message.key() for message in found} == {b"c-1"}
    assert len({message.partition() for message in found}) == 1


def test_the_state_file_forgets_the_erased(tmp_path: Path) -> None:
    """Nothing of them is left in its bytes."""
    path = tmp_path / "state"
    with TmfMemory(str(path)) as memory:
        adapting = TmfAdapter(MAPPING, memory, "EUR")
        parties = [{"id": "somebody-else", "role": "customer"}]
        events(adapting, usage(10))
        events(adapting, usage(10) | {"id": "u-2", "relatedParty": parties})
        memory.save()
        assert b"c-1" in path.read_bytes()
        events(adapting, customer("CustomerDeleteEvent"))
        memory.save()
    left = path.read_bytes()
    assert b"c-1" not in left
    assert b"u-1" not in left
    assert b"somebody-else" in left


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.ndjson"], "cannot be read"),
        (["-", "--out", "/nowhere/x"], "cannot be written"),
        (["-", "--state", "/nowhere/x"], "state file"),
        (["-", "--mapping", "missing.yaml"], "TM Forum mapping"),
    ],
)
def test_a_mistake_is_one_message_with_its_fix(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As for every command."""
    assert execute(["adapt", "tmf", *arguments]) == ExitCode.DATA
    error = capsys.readouterr().err
    assert says in error
    assert "fix: " in error


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("surprise: 1", "surprise"),
        ("deleted: archive", "deleted"),
        ("closed_states: 5", "closed_states"),
        ("{", "YAML"),
    ],
)
def test_a_wrong_mapping_names_the_field(line: str, says: str, tmp_path: Path) -> None:
    """And so does a unit that its type does not have."""
    text = DEFAULT.read_text("utf-8")
    path = tmp_path / "mapping.yaml"
    path.write_text(f"{text}\n{line}\n")
    with pytest.raises(SpecError, match=says):
        load_mapping(str(path))
    path.write_text(text.replace("unit: MB", "unit: furlong"))
    with pytest.raises(SpecError, match="furlong is not a unit of data"):
        load_mapping(str(path))


def test_a_broken_state_file_is_an_error_with_a_fix(tmp_path: Path) -> None:
    """It is not taken for an empty one."""
    (tmp_path / "state").write_bytes(b"this is not a database, whatever its name says. " * 20)
    with pytest.raises(DataError, match="give another --state"):
        TmfMemory(str(tmp_path / "state"))

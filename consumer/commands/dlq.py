"""`dlq list`, `dlq show` and `dlq replay`."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consumer.commands.common import (
    BootstrapOption,
    ConfigOption,
    JsonOption,
    SetOption,
    load_config,
    print_table,
    write_json,
)
from consumer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consumer.config import Config
    from consumer.dead_letters import ReplayPlan, Selection, Sent

app = typer.Typer(no_args_is_help=True, help="Refused records: count them, read them, send them again.")

ReasonOption = Annotated[
    list[str] | None, typer.Option("--reason", help="Only letters of this reason; may be repeated.")
]
TopicOption = Annotated[
    list[str] | None,
    typer.Option("--topic", help="Only records refused on this input topic; may be repeated."),
]
PartitionOption = Annotated[
    int | None, typer.Option("--partition", "-p", min=0, help="Only this partition of the dead letters.")
]
OffsetsOption = Annotated[
    str | None,
    typer.Option("--offsets", metavar="FIRST-LAST", help="Only these offsets of the dead letters."),
]


@app.command("list")
def list_letters(
    config: ConfigOption = None,
    sets: SetOption = None,
    bootstrap: BootstrapOption = None,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    as_json: JsonOption = False,
) -> None:
    """How many letters there are per topic and reason, of which time, and how many were sent again."""
    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    from consumer.dead_letters import DeadLetters, summarise
    from consumer.dead_letters.ledger import Ledger
    from schemas.times import format_time

    selection = _selection(settings, reason, topic)
    found = summarise(DeadLetters(settings).read(selection), Ledger(settings).read())
    rows: list[dict[str, Any]] = [
        {
            "topic": topic_of,
            "reason": why,
            "letters": one.letters,
            "first": format_time(one.first_us),
            "last": format_time(one.last_us),
            "sent_again": one.sent,
            "example": one.details.most_common(1)[0][0],
        }
        for (topic_of, why), one in found.items()
    ]
    if as_json:
        write_json(rows)
        return
    columns = ["topic", "reason", "letters", "first", "last", "sent_again", "example"]
    print_table(columns, [[str(row[name]) for name in columns] for row in rows])


@app.command()
def show(  # noqa: PLR0913 - one parameter per option
    letter: Annotated[
        str | None, typer.Argument(metavar="[PARTITION:OFFSET]", help="Place of a letter.")
    ] = None,
    config: ConfigOption = None,
    sets: SetOption = None,
    bootstrap: BootstrapOption = None,
    last: Annotated[
        int, typer.Option("--last", "-n", min=1, help="Without a place: the newest so many.")
    ] = 1,
    reason: ReasonOption = None,
    as_json: JsonOption = False,
) -> None:
    """One letter, or the newest ones: why, from where, and the bytes as they came.

    Letters hold whole records of customers; whoever reads them must be allowed to.
    """
    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    from consumer.dead_letters import DeadLetters

    place = None if letter is None else _place(letter)
    if place is None:
        found = DeadLetters(settings).last(_selection(settings, reason), last)
    else:
        found = [DeadLetters(settings).one(*place)]
    documents = [one.document() for one in found]
    if as_json:
        write_json(documents)
        return
    names = ["letter", "time", "reason", "detail", "topic", "partition", "offset", "key", "value"]
    print_table(names, [["" if one[n] is None else str(one[n]) for n in names] for one in documents])


@app.command()
def replay(  # noqa: PLR0913 - one parameter per option
    config: ConfigOption = None,
    sets: SetOption = None,
    bootstrap: BootstrapOption = None,
    reason: ReasonOption = None,
    topic: TopicOption = None,
    partition: PartitionOption = None,
    offsets: OffsetsOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent; send nothing.")] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also what would be refused again as things stand.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Send the original records of letters to the topics they came from, each once, under their keys.

    For records that were refused for what has changed since: a setting, a clock, a partitioner, a version.
    What would be refused again stays, unless --anyway. Run it with the settings of the service.
    """
    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    from consumer import kafka_clients, topics
    from consumer.core import Core
    from consumer.dead_letters import DeadLetters, Replay

    selection = _selection(settings, reason, topic, partition, offsets)
    names = topics.TopicNames.with_prefix(settings.topics.prefix)
    core = Core(settings, topics.require(kafka_clients.make_admin(settings), names))
    letters = DeadLetters(settings).read(selection)
    run = Replay(settings, core, time.time_ns() // 1000, anyway=anyway)
    sent: list[dict[str, Any]] = []

    def told(batch: Sequence[Sent]) -> None:
        sent.extend(one.document() for one in batch)

    try:
        plan = run.dry_run(letters) if dry_run else run.send(letters, told)
    finally:
        run.close()
    _print_outcome(plan, dry_run, sent, as_json)


def _print_outcome(plan: ReplayPlan, dry_run: bool, sent: list[dict[str, Any]], as_json: bool) -> None:
    verb = "would be sent" if dry_run else "sent"
    rows = [(topic, why, verb, n) for (topic, why), n in sorted(plan.sends.items())]
    for (topic, why), left in sorted(plan.leaves.items()):
        rows += [(topic, why, _words(because), n) for because, n in sorted(left.items())]
    if as_json:
        outcomes = [dict(zip(("topic", "reason", "outcome", "letters"), row, strict=True)) for row in rows]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_json({"time": now, "dry_run": dry_run, "outcomes": outcomes, "sent": sent})
        return
    print_table(["topic", "reason", "outcome", "letters"], [[str(cell) for cell in row] for row in rows])
    total = sum(plan.sends.values())
    typer.echo(
        f"{total} letters {verb}" + ("; run it without --dry-run" if dry_run and total else ""), err=True
    )


def _words(why: str) -> str:
    from consumer.dead_letters.replay import ERASED, NO_ORIGIN, SENT_BEFORE

    return why if why in (SENT_BEFORE, NO_ORIGIN, ERASED) else f"left: would be refused again ({why})"


def _selection(
    settings: Config,
    reason: list[str] | None = None,
    topic: list[str] | None = None,
    partition: int | None = None,
    offsets: str | None = None,
) -> Selection:
    """The letters that the options mean. Raises `ConfigError` for names that nothing can have."""
    from consumer.dead_letters import Selection
    from consumer.dead_letters.letter import NO_REASON
    from consumer.topics import TopicNames
    from schemas.rejects import Reason

    reasons = [code.value for code in Reason] + [NO_REASON]
    prefix, inputs = settings.topics.prefix, TopicNames.with_prefix(settings.topics.prefix).inputs
    wanted = {name if name.startswith(prefix) else prefix + name for name in topic or []}
    if wrong := sorted(set(reason or []).difference(reasons)):
        raise ConfigError(
            f"--reason {wrong[0]}: no record is refused for that", f"one of {', '.join(reasons)}"
        )
    if wrong := sorted(wanted.difference(inputs)):
        raise ConfigError(f"--topic {wrong[0]} is no input topic", f"one of {', '.join(inputs)}")
    if offsets is not None and partition is None:
        raise ConfigError("--offsets are those of one partition", "give --partition with them")
    first_last = (
        None if offsets is None else _numbers(offsets, "-", "--offsets", "100-199, or 100-100 for one")
    )
    return Selection(frozenset(reason or []), frozenset(wanted), partition, first_last)


def _place(text: str) -> tuple[int, int]:
    return _numbers(text, ":", "letter", "3:1042, as dlq show --last prints it")


def _numbers(text: str, between: str, what: str, example: str) -> tuple[int, int]:
    found = re.fullmatch(rf"(\d+){between}(\d+)", text)
    if found is None:
        raise ConfigError(
            f"{what} {text}: not two numbers with {between!r} between", f"for example {example}"
        )
    return int(found[1]), int(found[2])

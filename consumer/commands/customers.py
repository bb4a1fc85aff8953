"""`inspect` and `forget`: what is known of one customer, and its erasure."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

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
from consumer.errors import ConfigError, DataError
from consumer.exit_codes import ExitCode

CustomerArgument = Annotated[str, typer.Argument(metavar="CUSTOMER", help="The customer's id.")]


def inspect(  # noqa: PLR0913 - one parameter per option
    customer: CustomerArgument,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="SEGMENT", help="Also the smallest change that moves them to it."),
    ] = None,
    history: Annotated[
        int, typer.Option(min=0, help="Published changes shown; 0 does not read the topic.")
    ] = 10,
    events: Annotated[int, typer.Option(min=0, max=16, help="Last events shown; 0 does not read.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Features, segment, history and outlook of one customer, and how they would get to another segment.

    Read from the newest snapshot and the log after it, whether or not a service runs; nothing is written.
    Run it with the settings of the service. It shows personal data: run it where that may be seen.
    """
    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    from consumer.customer.lookup import Found
    from consumer.customer.portrait import Portrait
    from consumer.customer.traces import Traces

    found = Found.of(settings, customer)
    portrait = Portrait(found)
    document = portrait.document()
    if to is not None:
        document["towards"] = portrait.towards(to)
    with Traces(settings, found) as traces:
        document["history"] = traces.changes(history) if history else []
        document["events"] = traces.events(events) if events else []
    if as_json:
        write_json(document)
        return
    _print(document)


def forget(  # noqa: PLR0913 - one parameter per option
    customer: CustomerArgument,
    config: ConfigOption = None,
    bootstrap: BootstrapOption = None,
    sets: SetOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: it cannot be taken back.")] = False,
    wait_s: Annotated[
        float, typer.Option("--wait-s", min=0, help="Seconds to wait until the service has carried it out.")
    ] = 120,
    to_file: Annotated[Path | None, typer.Option("--receipt", help="Also write the receipt here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Erase one customer: send the event, wait until it has taken effect, give a receipt.

    The receipt says what is gone, what is left where, and by when the broker drops it. Exit code 6: sent, but
    not yet carried out; the service does so when it runs, and the command may be repeated.
    """
    settings = load_config(config, sets, {"kafka.bootstrap": bootstrap})
    from consumer import kafka_clients, topics
    from consumer.customer.erasure import Erasure
    from consumer.customer.receipt import receipt

    _make_sure(customer, yes)
    names = topics.TopicNames.with_prefix(settings.topics.prefix)
    partitions = topics.require(kafka_clients.make_admin(settings), names)
    with Erasure(settings, partitions) as erasure:
        request = erasure.send(customer, time.time_ns() // 1000)
        place = f"{request.topic} [{request.partition}] {request.offset}"
        typer.echo(f"sent {request.event_id} to {place}; waiting for the service", err=True)
        effect = erasure.wait(request, customer, wait_s)
    document = receipt(settings, customer, request, effect, time.time_ns() // 1000)
    if to_file is not None:
        _write(to_file, document)
    if as_json:
        write_json(document)
    else:
        _print_receipt(document)
    if effect is None:
        typer.echo(
            f"not carried out within {wait_s:g} s: is the service running (segmenter doctor)?", err=True
        )
        raise typer.Exit(ExitCode.CHECK_FAILED)


def _make_sure(customer: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("forget asks before it erases, and nobody is there to answer", "add --yes")
    typer.confirm(f"Erase customer {customer}? It cannot be taken back", abort=True, err=True)


def _write(path: Path, document: dict[str, Any]) -> None:
    import json

    try:
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"the receipt cannot be written to {path}: {error.strerror}",
            "the erasure is done or under way: run the command again with another --receipt",
        ) from None


def _print_receipt(document: dict[str, Any]) -> None:
    event = document["event"]
    rows = [
        ["customer", document["customer_hash"], "", "hash"],
        [
            f"event {event['event_id']}",
            "sent",
            "",
            f"{event['topic']} [{event['partition']}] {event['offset']}",
        ],
    ]
    rows += [[one["place"], one["state"], one["gone_by"] or "", one["detail"]] for one in document["places"]]
    print_table(["what", "state", "gone by", "detail"], rows)


def _print(document: dict[str, Any]) -> None:
    """One table of three columns: what, value, remark."""
    rows = [
        ["customer", document["customer_id"], f"partition {document['partition']}"],
        ["status", document["status"], f"as of {document['as_of']['watermark']}"],
        ["consent to profiling", str(document["consent"]["profiling"]), document["consent"]["as_of"] or ""],
        ["segment", _segment(document["segment"]), f"since {document['since']}, change {document['seq']}"],
    ]
    if "features" in document:
        rows += _state_rows(document)
    rows += [
        [
            f"change {one['seq']}",
            f"{one['change']} to {_segment(one['segment'])}",
            f"{one['effective_at']}, {one['cause']}",
        ]
        for one in document["history"]
    ]
    rows += [
        [f"event {one['type']}", one["outcome"], f"{one['event_time']}, {one['topic']} at {one['offset']}"]
        for one in document["events"]
    ]
    if "towards" in document:
        rows += _towards_rows(document["towards"])
    print_table(["what", "value", "remark"], rows)


def _state_rows(document: dict[str, Any]) -> list[list[str]]:
    near, ahead = document["confidence"], document["outlook"]
    rows = [
        ["margin", str(near["margin"]), f"next best: {_segment(near['runner_up'])}"],
        *(["held by", one["label"], f"{one['share']:.0%}"] for one in near["held_by"]),
        *(
            [
                one["label"] if one["label"] == one["feature"] else f"{one['label']} ({one['feature']})",
                "missing" if one["value"] is None else f"{one['value']:g} {one['unit']}",
                "" if one["segment_typical"] is None else f"typical: {one['segment_typical']:g}",
            ]
            for one in document["features"]
        ),
        ["last activity", ahead["last_activity"] or "never", ""],
    ]
    if ahead["dormant_from"] is not None:
        found = f"if nothing happens; found by the scan of {ahead['found_by_scan']}"
        rows.append(["dormant from", ahead["dormant_from"], found])
    rows += [["if nothing happens", _segment(one["segment"]), one["at"]] for one in ahead["moves"]]
    return rows


def _towards_rows(towards: dict[str, Any]) -> list[list[str]]:
    name = f"to {_segment(towards['to'])}"
    if "by" in towards:
        return [[name, towards["by"], f"from {towards['dormant_from']}"]]
    rows = [[name, "condition", text] for text in towards["conditions"]]
    ways = [("one feature", way) for way in towards["by_one_feature"]]
    if towards["by_two_features"] is not None:
        ways.append(("two features", towards["by_two_features"]))
    for what, way in sorted(ways, key=lambda pair: float(pair[1]["size"])):
        steps = "; ".join(
            f"{s['label']}: {_value(s['before'])} to {_value(s['after'])} {s['unit']}" for s in way["steps"]
        )
        rows.append([name, f"{what}, size {way['size']:g}", steps or "moves as they are"])
    return rows


def _value(value: float | None) -> str:
    return "missing" if value is None else f"{value:.9g}"


def _segment(segment: dict[str, str] | None) -> str:
    if segment is None:
        return "none"
    return segment["id"] if segment["id"] == segment["name"] else f"{segment['id']} ({segment['name']})"

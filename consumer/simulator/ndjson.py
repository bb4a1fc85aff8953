"""A run as NDJSON: one record per line, as it would be on Kafka, without the envelope."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from consumer.simulator.records import TOPICS
from consumer.simulator.simulation import EventChunk, Simulation

#: Called after each chunk with the records written so far and the end of the chunk (event time).
Progress = Callable[[int, int], None]


def write_ndjson(
    simulation: Simulation,
    target: Path | str | BinaryIO,
    split_by_topic: bool = False,
    progress: Progress | None = None,
) -> int:
    """Write the run in order of arrival and return the number of lines.

    `target` is a file, or with `split_by_topic` a directory that gets a file ``<topic>.ndjson`` per
    topic; a binary stream takes one file only. Malformed records are written as they are (an empty
    record is an empty line). Faults of the envelope (`FaultKind.needs_kafka`) do not show here,
    except that a record on the wrong topic is in that topic's file.
    """
    if split_by_topic:
        if not isinstance(target, Path | str):
            raise ValueError("split_by_topic needs a directory, not a stream")
        return _write_split(simulation, Path(target), progress)
    with ExitStack() as files:
        if isinstance(target, Path | str):
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            stream: BinaryIO = files.enter_context(Path(target).open("wb"))
        else:
            stream = target
        written = 0
        for chunk in simulation.chunks():
            _write_lines(stream, chunk.value)
            written += chunk.n
            _report(progress, written, chunk)
    return written


def _write_split(simulation: Simulation, folder: Path, progress: Progress | None) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    with ExitStack() as files:
        streams = {topic: files.enter_context((folder / f"{topic}.ndjson").open("wb")) for topic in TOPICS}
        for chunk in simulation.chunks():
            for topic, stream in streams.items():
                records = zip(chunk.topic, chunk.value, strict=True)
                _write_lines(stream, [value for name, value in records if name == topic])
            written += chunk.n
            _report(progress, written, chunk)
    return written


def _write_lines(stream: BinaryIO, values: list[bytes]) -> None:
    if values:
        stream.write(b"\n".join(values) + b"\n")


def _report(progress: Progress | None, written: int, chunk: EventChunk) -> None:
    if progress is not None:
        progress(written, chunk.end_us)

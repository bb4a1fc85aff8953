"""Taking frames off before decoding.

What is inside becomes plain JSON of the contract and goes to the decoder that all records go to, so a framed
record has the verdict of a plain one.
"""

from __future__ import annotations

from functools import partial

from consumer.config import REGISTRY_PREFIX, Config
from consumer.errors import ConfigError
from consumer.registry.frames import Unframe, unframe
from schemas.batch import EventBatch
from schemas.decode import Decoder
from schemas.records import RawRecords
from schemas.reference import Refusal
from schemas.rejects import Rejects


def unframe_of(config: Config) -> Unframe | None:
    """How records are unframed, None if they come plain: there is no Schema Registry.

    Raises `ConfigError` if the packages for it are missing.
    """
    if not config.kafka.registry:
        return None
    try:
        from consumer.registry.schemas import WriterSchemas
    except ImportError as error:
        raise ConfigError(
            f"{REGISTRY_PREFIX}url in kafka.client needs packages that are not installed: {error}",
            "install telecom-segmenter[registry]",
        ) from None

    return partial(unframe, WriterSchemas(config.kafka).reader)


class FramedDecoder:
    """A `Decoder` for framed records; rejects hold the records as they were read."""

    def __init__(self, decoder: Decoder, unframe: Unframe) -> None:
        self._decoder = decoder
        self._unframe = unframe

    def decode(self, records: RawRecords) -> tuple[EventBatch, Rejects]:
        """As `Decoder.decode`. Raises `RegistryUnreachable`."""
        rows, values = list[int](), list[bytes | None]()
        refused, refusals = list[int](), list[Refusal]()
        for row, value in enumerate(records.values):
            found = self._unframe(value)
            if isinstance(found, Refusal):
                refused.append(row)
                refusals.append(found)
            else:
                rows.append(row)
                values.append(found)
        framed = records if not refused else records.take(rows)
        plain = RawRecords(values, framed.keys, framed.topic, framed.partition, framed.offset)
        batch, rejects = self._decoder.decode(plain)
        if rejects.n:
            rejects = _as_read(rejects, framed)
        if not refused:
            return batch, rejects
        own = Rejects.of(records.take(refused), [r.reason for r in refusals], [r.detail for r in refusals])
        return batch, Rejects.concat([own, rejects])


def _as_read(rejects: Rejects, framed: RawRecords) -> Rejects:
    """`rejects` with the values that stood at their places."""
    places = zip(framed.topic.tolist(), framed.partition.tolist(), framed.offset.tolist(), strict=True)
    values = dict(zip(places, framed.values, strict=True))
    mine = zip(rejects.topic.tolist(), rejects.partition.tolist(), rejects.offset.tolist(), strict=True)
    return Rejects(
        rejects.topic,
        rejects.partition,
        rejects.offset,
        rejects.reasons,
        rejects.details,
        rejects.keys,
        [values[place] for place in mine],
    )

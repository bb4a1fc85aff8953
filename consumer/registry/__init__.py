"""Input records framed as Confluent's serializers write them: a schema id before JSON or Avro."""

from __future__ import annotations

from consumer.registry.framed import FramedDecoder, unframe_of
from consumer.registry.frames import Unframe

__all__ = ["FramedDecoder", "Unframe", "unframe_of"]

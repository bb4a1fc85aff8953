"""What crosses the wire: contracts, bytes to columns and back, rejects."""

from __future__ import annotations

from schemas.batch import EventBatch, Vocabulary
from schemas.decode import Decoder
from schemas.records import RawRecords
from schemas.rejects import Reason, Rejects

__all__ = ["Decoder", "EventBatch", "RawRecords", "Reason", "Rejects", "Vocabulary"]

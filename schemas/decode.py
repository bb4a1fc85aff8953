"""Bytes to columns: `Decoder.decode` turns raw records into an `EventBatch` and `Rejects`.

The hot path of the service, in three tiers: `schemas.scanner` takes the plain usage events that most
records are, `schemas.structs` everything that fits the contract, and `schemas.reference` finds the
reason why the rest does not. Each sees only what the tier before has left over.
"""

from __future__ import annotations

import numpy as np

from schemas import reference
from schemas.batch import EventBatch, Int64Array, Vocabulary
from schemas.records import RawRecords
from schemas.rejects import Reason, Rejects
from schemas.structs import StructDecoder

__all__ = ["Decoder", "RawRecords", "decode"]


class Decoder:
    """Decodes records of contract v1 for one vocabulary and one base currency.

    Holds caches only: the result depends on nothing but the records.
    """

    def __init__(self, vocabulary: Vocabulary, base_currency: str) -> None:
        from schemas.scanner import Scanner  # numba: the published models do without

        self._scanner = Scanner(vocabulary)
        self._structs = StructDecoder(vocabulary, base_currency)
        self._base_currency = base_currency

    def decode(self, records: RawRecords) -> tuple[EventBatch, Rejects]:
        """Events of `records` in order without the refused ones, and the refused ones.

        Never raises for any bytes. Of a field that occurs twice in an object the last one counts,
        but every occurrence must fit the contract.
        """
        scan = self._scanner.scan(records)
        left = scan.left_over()
        if len(left) == records.n:
            return self.decode_structs(records)
        others = records.take(left.tolist())
        events, rows = self._structs.decode(others)
        return scan.merged(left[rows], events), self._rejects(others, rows)

    def decode_structs(self, records: RawRecords) -> tuple[EventBatch, Rejects]:
        """The same without the scanner: what it is measured against and tested with."""
        batch, rows = self._structs.decode(records)
        return batch, self._rejects(records, rows)

    def _rejects(self, records: RawRecords, rows: Int64Array) -> Rejects:
        """The records that are not at `rows`, with reasons."""
        if len(rows) == records.n:
            return Rejects.empty()
        refused = records.take(np.delete(np.arange(records.n), rows).tolist())
        refusals = [
            self._refusal(value, key, topic)
            for value, key, topic in zip(refused.values, refused.keys, refused.topic.tolist(), strict=True)
        ]
        return Rejects.of(refused, [r.reason for r in refusals], [r.detail for r in refusals])

    def _refusal(self, value: bytes | None, key: bytes | None, topic: int) -> reference.Refusal:
        result = reference.check(value, key, topic, self._base_currency)
        if isinstance(result, reference.Refusal):
            return result
        # Only a repeated field gets here: the models see its last value, the decoder all of them.
        return reference.Refusal(Reason.MALFORMED_JSON, "a field occurs twice with an invalid value")


def decode(records: RawRecords, vocabulary: Vocabulary, base_currency: str) -> tuple[EventBatch, Rejects]:
    """`Decoder.decode` for a single batch; a service keeps a `Decoder`."""
    return Decoder(vocabulary, base_currency).decode(records)

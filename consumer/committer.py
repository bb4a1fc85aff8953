"""Commits payloads while the loop works on its next turn.

A commit is five exchanges with the broker, and nearly all of its time is waiting. One payload is under
way at a time, in the order of the turns; the next one is written only after it. The loop reads, decides
and encodes meanwhile, and asks for the outcome before it hands over the next payload.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from consumer.background import Background
from consumer.errors import TransactionAborted
from consumer.failpoints import failpoint
from consumer.output import Payload
from consumer.transaction import CALL_LIMIT_S, CommitTimes, TransactionalOutput

_log = structlog.get_logger("commit")


class Committer:
    """The transactional output, one payload at a time.

    `group_metadata` is asked when a payload is handed over, by the loop. A rebalance cannot change it under
    way: the client joins its new generation only after its callbacks have returned, and those `settle`.
    The committing thread must not ask: the client does not answer while a callback waits for that thread.
    `on_abort` hears of aborted transactions, on the committing thread.
    """

    def __init__(
        self,
        output: TransactionalOutput,
        group_metadata: Callable[[], object],
        on_abort: Callable[[], None],
    ) -> None:
        self._output = output
        self._group_metadata = group_metadata
        self._on_abort = on_abort
        self._background: Background[CommitTimes] = Background("commit", CALL_LIMIT_S)

    def start(self, payload: Payload) -> None:
        """Begins to write and commit `payload`. `finish` must have been called for the one before."""
        metadata = self._group_metadata()
        self._background.start(lambda: self._commit(payload, metadata))

    def finish(self) -> CommitTimes | None:
        """Waits for the commit under way; None without one. Raises as `TransactionalOutput.commit`."""
        return self._background.result()

    def settle(self) -> None:
        """Waits for the commit under way without asking how it ended: for callbacks, which must not raise."""
        self._background.settle()

    def serve(self) -> None:
        """Runs waiting client callbacks, between commits."""
        self._output.serve()

    def close(self) -> None:
        """Waits for the commit under way. The output stays open."""
        self._background.close()

    def _commit(self, payload: Payload, metadata: object) -> CommitTimes:
        """Commits the payload; one that was aborted is written once more as it was."""
        try:
            return self._write(payload, metadata)
        except TransactionAborted as error:
            self._on_abort()
            _log.warning("transaction aborted, writing it again", problem=error.problem)
        failpoint("payload.retry")
        return self._write(payload, metadata)

    def _write(self, payload: Payload, metadata: object) -> CommitTimes:
        payload.write(self._output)
        return self._output.commit(payload.offsets, metadata)

"""Golden snapshots: one per format, never written again once its version is released.

`python -m tests.golden.snapshots` writes the one of the present format, if there is none yet.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from consumer.snapshots import Identity, SnapshotStore, SnapshotWriter, writer
from consumer.snapshots.manifest import FORMAT
from online_model.evaluate import evaluate
from online_model.partition import PartitionState
from online_model.state_columns import PartBuffer
from tests.chaos.patching import patch
from tests.online_model.test_engine import history
from tests.online_model.test_rebuild import Run
from tests.online_model.tiny import TINY

APP: Final = "golden"
TOPICS: Final = ("usage", "billing", "customer")
#: The commit that the snapshot follows.
COMMIT: Final = 20

_HOT: Final = ("segment", "seq", "since", "status", "provisional")


def folder(number: int) -> Path:
    """Where the snapshot of a format is kept."""
    return Path(__file__).parent / f"snapshot-format-{number}"


def content(state: PartitionState) -> dict[str, Any]:
    """What a snapshot means, whatever its columns are: features bit by bit, and what was published."""
    rows = np.arange(state.index.n, dtype=np.int32)
    raw = evaluate(state.store.rows, rows, state.watermark_us, TINY, np.full(TINY.columns.n, 0.5)).raw
    hot, left = state.store.rows.hot, state.store.rows.left
    return {
        "erased": {key.hex(): cut for key, cut in state.erased.items()},
        "first_watermark_us": state.first_watermark_us,
        "customers": [
            {"id": customer.decode(), "features": [float(value).hex() for value in raw[row]]}
            | {name: int(hot[name][row]) for name in _HOT}
            | {"left": int(left[row])}
            for row, customer in zip(rows.tolist(), state.index.ids(rows), strict=True)
        ],
    }


def state_at(commit: int) -> PartitionState:
    """A partition with a dozen customers, an erased one among them, after a commit."""
    run = Run(history(1, 400))
    next(n for n in run.steps() if n == commit)
    return run.state


def write(directory: Path, state: PartitionState, n: int) -> None:
    """A snapshot of several parts."""
    store = SnapshotStore(str(directory), APP)
    made = SnapshotWriter(store, Identity(APP, 1, TINY.spec.hash, TOPICS, "golden--run"), 0.0, 2)
    made.follow([0])
    while not store.numbers(0):
        if made.wants_part:
            made.take_part({0: state}, {0: n})
        time.sleep(0.01)
    made.close()


def main() -> int:
    """Writes the golden snapshot of this format; 1 if it is there."""
    target = folder(FORMAT)
    if target.exists():
        print(f"{target} is there and stays as it is")  # noqa: T201
        return 1
    patch(writer, "PartBuffer", lambda like: PartBuffer(like, 5))
    patch(writer, "CPU_SHARE", float("inf"))
    state = state_at(COMMIT)
    write(target, state, COMMIT)
    (target / "expected.json").write_text(json.dumps(content(state), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

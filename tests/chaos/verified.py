"""`segmenter verify` on a run: the independent derivation of everything that was published."""

from __future__ import annotations

from tests.chaos.stage import Run

_TIMEOUT_S = 120.0


def verified(run: Run) -> list[str]:
    """What `segmenter verify` finds in the run."""
    child = run.start_command("verify")
    if child.wait(_TIMEOUT_S) is None:
        return ["segmenter verify does not end"]
    return [] if child.code == 0 else [f"segmenter verify, exit code {child.code}: {child.text[-2000:]}"]

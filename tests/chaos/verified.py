"""`segmenter verify` on a run: the independent derivation of everything that was published."""

from __future__ import annotations

from consumer import cli
from tests.chaos.stage import Run

_TIMEOUT_S = 120.0


def has_verify() -> bool:
    """Whether the command line has the command."""
    return any(command.name == "verify" for command in cli.app.registered_commands) or any(
        command.callback is not None and command.callback.__name__ == "verify"
        for command in cli.app.registered_commands
    )


def verified(run: Run) -> list[str]:
    """What `segmenter verify` finds in the run; nothing where there is no such command yet."""
    if not has_verify():
        return []
    child = run.start_command("verify")
    if child.wait(_TIMEOUT_S) is None:
        return ["segmenter verify does not end"]
    return [] if child.code == 0 else [f"segmenter verify, exit code {child.code}: {child.text[-2000:]}"]

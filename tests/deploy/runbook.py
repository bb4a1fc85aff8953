"""The runbook as a program: the commands of its entries, run as the person on call would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.monitoring.__main__ import FOLDER

_ENTRY: Final = re.compile(r"^### (Segmenter\w+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
_COMMANDS: Final = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Entry:
    """One alert: the text, the commands that look, and those that mend (none where mending is no command)."""

    text: str
    look: str
    mend: str


def entries() -> dict[str, Entry]:
    """By alert."""
    found = {}
    for name, text in _ENTRY.findall((FOLDER / "RUNBOOK.md").read_text(encoding="utf-8")):
        before, _, after = text.partition("*Mend.*")
        found[name] = Entry(text, "\n".join(_COMMANDS.findall(before)), "\n".join(_COMMANDS.findall(after)))
    return found


def run(commands: str, instance: str, config: Path, timeout_s: float = 240.0) -> tuple[int, str]:
    """Exit code and output of `commands`, one after the other, ended by the first that fails."""
    env: Mapping[str, str] = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "INSTANCE": instance,
        "SEGMENTER_CONFIG": str(config),
    }
    done = subprocess.run(
        ["bash", "-euc", commands],
        cwd=config.parent,
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr

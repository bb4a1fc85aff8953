"""Exit codes of the command `segmenter`: the contract with shells, supervisors and Kubernetes."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Self


class ExitCode(IntEnum):
    """Why the process ended. Each member's text is printed by `segmenter --help`."""

    def __new__(cls, value: int, meaning: str) -> Self:
        """Member `value` with its explanation."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    meaning: str

    OK = 0, "success, or a clean stop on SIGTERM"
    UNEXPECTED = 1, "a bug: the log holds the traceback"
    CONFIG = 2, "wrong usage, configuration or specification value"
    BROKER = 3, "Kafka or the Schema Registry cannot be reached or refuses the client"
    TOPICS = 4, "a topic is missing or has the wrong shape"
    DATA = 5, "an input file or a specification file cannot be used"
    CHECK_FAILED = 6, "a check ran and failed (doctor, demo, verify, forget)"
    UNVERIFIED = 7, "verify found nothing wrong, but part of the log that it needs is gone"
    RESTART = 75, "state unknown or fenced: restart me, I restore from the committed audit log"
    INTERRUPTED = 130, "stopped by Ctrl-C"


#: Starting again mends none of these: supervisors leave the process down. What ends with `BROKER` is not
#: among them, because a broker comes back without anybody touching this process.
WANT_A_PERSON: Final = frozenset({ExitCode.CONFIG, ExitCode.TOPICS, ExitCode.DATA})

"""Free memory goes back."""

from __future__ import annotations

import threading
from pathlib import Path

from consumer.memory import give_back


def resident_mb() -> float:
    """Resident memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def test_what_threads_needed_once_is_given_back() -> None:
    """Small blocks of many threads, freed but for the last one of each: without help they stay resident."""
    rest: list[bytes] = []

    def work() -> None:
        blocks = [bytes(3000) for _ in range(8000)]
        rest.append(blocks[-1])

    before = resident_mb()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
        thread.join()
    peak = resident_mb()
    give_back()
    assert resident_mb() - before < max(10.0, 0.5 * (peak - before))
    assert len(rest) == 4

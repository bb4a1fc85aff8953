"""Free memory goes back."""

from __future__ import annotations

import subprocess
import sys
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


ARENAS = """
import threading
import pyarrow as pa
from consumer.memory import give_back, keep_little
from tests.consumer.test_memory import resident_mb

if {kept!r}:
    keep_little()
assert (pa.default_memory_pool().backend_name == "system") == bool({kept!r})


def work():
    for _ in range(3):
        blocks = [bytes(1 << 20) for _ in range(24)] + [bytes(30 << 20)]
        del blocks


before = resident_mb()
for _ in range(6):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
give_back()
print(resident_mb() - before)
"""


def left_mb(kept: str) -> float:
    """What large blocks of threads have left behind in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", ARENAS.format(kept=kept)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_little_is_kept_for_threads() -> None:
    """Without the settings every arena keeps the end of its memory."""
    assert left_mb("little") < 0.5 * left_mb("")

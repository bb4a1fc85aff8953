"""Free memory goes back."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
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
    chosen = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "mimalloc"}  # who chooses one has it, until told else
    done = subprocess.run(
        [sys.executable, "-c", ARENAS.format(kept=kept)],
        env=chosen,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_little_is_kept_for_threads() -> None:
    """Without the settings every arena keeps the end of its memory."""
    assert left_mb("little") < 0.5 * left_mb("")


def test_arrow_reserves_nothing() -> None:
    """Whatever part of it asks for memory: no mapping of a gibibyte comes with the first Parquet file."""
    program = """
        import consumer, io
        import pyarrow as pa, pyarrow.parquet as pq
        file = io.BytesIO()
        pq.write_table(pa.table({"ids": [b"x" * 50] * 100_000}), file)
        pq.read_table(file)
        places = [line.split()[0].split("-") for line in open("/proc/self/maps")]
        print(pa.default_memory_pool().backend_name, max(int(end, 16) - int(low, 16) for low, end in places))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    pool, largest = done.stdout.split()
    assert pool == "system"
    assert int(largest) < 1 << 29

"""Runs one command for as long as its own standard input stays open. A program, not a library.

    python guardian.py LOG GRACE_SECONDS COMMAND...

A broker must never outlive the process that started it, not even one killed with SIGKILL. The parent
holds the writing end of a pipe; when the kernel closes it, for whatever reason, the command gets
SIGTERM and, after the grace, SIGKILL. (A parent-death signal would need a hook in the forked child,
which is not safe in a process with librdkafka's threads, and exists on Linux only.)

Prints the process id of the command as its first and only line. Imports nothing of this project, so
that it starts in a few milliseconds.
"""

from __future__ import annotations

import subprocess
import sys
import threading


def end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """Wait for the end of standard input, then stop `child`."""
    sys.stdin.buffer.read()
    child.terminate()
    try:
        child.wait(grace_s)
    except subprocess.TimeoutExpired:
        child.kill()


def main(arguments: list[str]) -> int:
    """Run the command; its exit code (negative for a signal)."""
    log, grace_s, *command = arguments
    with open(log, "ab") as output:  # noqa: PTH123 - pathlib would double the start-up time
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    print(child.pid, flush=True)  # noqa: T201 - the parent reads it
    threading.Thread(target=end, args=(child, float(grace_s)), daemon=True).start()
    return child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

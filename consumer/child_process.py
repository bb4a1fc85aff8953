"""The process of a `consumer.child.Child`: steps back before it imports anything large.

python -m consumer.child_process NAME FILE_DESCRIPTOR
"""

from __future__ import annotations

import contextlib
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

#: Added to the nice value of the parent: a tenth of the processor time that others on its core get while
#: they want it.
_NICE: Final = 10


def step_back() -> None:
    """Lets all others come first: they may not be late, this process may take longer.

    Where Linux groups processes by session (sched(7), autogroup), a nice value counts inside a session only:
    beside a broker, which has one of its own, the session needs the value as well.
    """
    value = os.nice(_NICE)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):  # another system, or groups are made otherwise
            Path("/proc/self/autogroup").write_text(str(value), encoding="ascii")


def main() -> None:
    """Steps back and does what is asked through the pipe."""
    step_back()
    from consumer.child import serve  # only now: what the child imports takes a second

    serve(Connection(int(sys.argv[2])))


if __name__ == "__main__":
    main()

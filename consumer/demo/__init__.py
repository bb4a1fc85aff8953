"""`segmenter demo`: broker, simulated customers, the service and a comparison with the planted truth."""

from __future__ import annotations

from consumer.options import DemoOptions

__all__ = ["run_demo"]


def run_demo(options: DemoOptions) -> int:
    """Plays the demo and returns the exit code: 0 if what was planted was found.

    Raises `SegmenterError` if a broker, a port or a setting stands in the way.
    """
    from consumer.demo.demo import play  # late: the simulator's process imports this package too

    return play(options)

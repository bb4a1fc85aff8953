"""Logs: structlog on stderr, JSON for machines, readable lines on a terminal."""

from __future__ import annotations

import logging
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Literal

import structlog
from structlog.typing import EventDict, Processor

#: Logger of librdkafka's own lines.
CLIENT_LOGGER: Final = "rdkafka"

#: Tracebacks without the values of local variables: passwords in `kafka.client` and customers' records are
#: among them.
_TRACEBACKS: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)

_DURATION: Final = re.compile(r"\d+ ?ms\b|, \d+ identical error\(s\) suppressed")
#: Different lines that are remembered.
_MOST_LINES: Final = 1_000

#: Methods of a logger whose lines are limited.
_LIMITED: Final = frozenset(("warning", "error", "exception", "critical"))

LogFormat = Literal["auto", "console", "json"]


class RepeatFilter(logging.Filter):
    """Lets the same line of a logger through once in `every_s` seconds, whatever durations it names.

    A client without its broker tries again every 50 ms and says so: 60 lines a second, measured.
    """

    def __init__(self, every_s: float = 30.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s = every_s
        self._monotonic = monotonic
        self._seen_s: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is to be written."""
        text = _DURATION.sub("", record.getMessage())
        now_s = self._monotonic()
        if now_s - self._seen_s.get(text, -math.inf) < self._every_s:
            return False
        if len(self._seen_s) >= _MOST_LINES:
            self._seen_s.clear()
        self._seen_s[text] = now_s
        return True


class RepeatLimit:
    """A structlog processor: at most `most` warnings or errors of an event and logger in `every_s` seconds.

    The next one that is written says how many were not (`suppressed`). Lower levels tell each change of
    state once by themselves and pass.
    """

    def __init__(
        self, most: int = 10, every_s: float = 30.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._every_s = every_s
        self._monotonic = monotonic
        self._begin_s = dict[tuple[str, str], float]()
        self._written = Counter[tuple[str, str]]()

    def __call__(self, _: Any, level: str, line: EventDict) -> EventDict:
        """The line; raises `structlog.DropEvent` if it is one too many."""
        if level not in _LIMITED:
            return line
        key = (str(line.get("logger", "")), str(line.get("event", "")))
        now_s = self._monotonic()
        if now_s - self._begin_s.setdefault(key, now_s) >= self._every_s:
            self._begin_s[key] = now_s
            if (suppressed := self._written.pop(key, 0) - self._most) > 0:
                line["suppressed"] = suppressed
        self._written[key] += 1
        if self._written[key] > self._most:
            raise structlog.DropEvent
        return line


def configure_logging(level: str, log_format: LogFormat = "auto") -> None:
    """Send structlog's and the standard library's log lines (librdkafka's too) to stderr.

    `level`: debug, info, warning or error. May be called again, the last call holds.
    """
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        render: list[Processor] = [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    else:
        render = [_TRACEBACKS, structlog.processors.JSONRenderer()]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    clients = logging.getLogger(CLIENT_LOGGER)
    clients.filters[:] = [RepeatFilter()]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            RepeatLimit(),
            *shared,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,  # so that a second call takes effect everywhere
    )

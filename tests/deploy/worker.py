"""`segmenter run` with scans every few seconds, which settings do not allow: tests do not wait an hour."""

from __future__ import annotations

import sys
from pathlib import Path

from consumer.config_sources import load_config
from consumer.logs import configure_logging
from consumer.service import run_service


def main(path: str, scan_s: str) -> None:
    """Runs with the settings in a file."""
    config = load_config(Path(path), {}, {})
    scan = config.scan.model_copy(update={"interval_s": int(scan_s)})
    configure_logging("info")
    run_service(config.model_copy(update={"scan": scan}))


if __name__ == "__main__":
    main(*sys.argv[1:])

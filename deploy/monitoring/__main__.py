"""`python -m deploy.monitoring` writes rules, boards and reference; `--check`: are they current?"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from deploy.monitoring import reference, rules
from deploy.monitoring.boards import boards
from deploy.monitoring.thresholds import Thresholds

FOLDER: Final = Path(__file__).parent.parent


def files() -> dict[Path, str]:
    """What is generated, by path."""
    from deploy.monitoring.grafana import to_json

    t = Thresholds.load()
    made = boards(t)
    return {
        FOLDER / "prometheus" / "rules.yaml": rules.render(t),
        FOLDER / "METRICS.md": reference.render(t, made),
        **{FOLDER / "grafana" / "boards" / f"{board.uid}.json": to_json(board) for board in made},
    }


def main(arguments: list[str] | None = None) -> int:
    """0 if all is written or current, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m deploy.monitoring", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if something is not current")
    options = parser.parse_args(arguments)
    stale = [
        path
        for path, text in files().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        name = path.relative_to(FOLDER.parent)
        if options.check:
            sys.stderr.write(f"{name} is not current: run make monitoring\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files()[path], encoding="utf-8")
            sys.stderr.write(f"{name} written\n")
    return int(bool(stale) and options.check)


if __name__ == "__main__":
    sys.exit(main())

"""The blocks that no test runs as they are printed: page and beginning, and why."""

from __future__ import annotations

from typing import Final

from tests.guides.markdown import Block

NOT_RUN: Final = {
    ("README.md", "make demo"): "CI runs make test itself, and tests/demo the demo",
    ("README.md", "make setup"): "it installs from a package index; CI begins with it",
    ("deploy/guides/data-scientist.md", "import duckdb"): "DuckDB is no dependency of the project",
    (
        "deploy/guides/operations.md",
        "# /etc/systemd/system/segmenter.service",
    ): "a unit for systemd: tests/guides/test_systemd_unit.py reads it",
    (
        "deploy/guides/operations.md",
        "cp deploy/.env.example deploy/.env",
    ): "containers: tests/deploy/test_stack.py",
    (
        "deploy/guides/operations.md",
        "python3 -m venv",
    ): "it installs; tests/deploy/test_image.py does the same",
}


def why_not(block: Block) -> str | None:
    """Why `block` is not run; None: it is."""
    for (page, beginning), reason in NOT_RUN.items():
        if block.page == page and block.text.startswith(beginning):
            return reason
    return None

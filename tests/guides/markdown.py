"""The fenced blocks of a Markdown file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
#: README and the guides, the order of a first reader.
PAGES: Final = (
    "README.md",
    *sorted(f"deploy/guides/{p.name}" for p in (ROOT / "deploy/guides").glob("*.md")),
)

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """`language` as written behind the fence; `line` of its first line in the `page`."""

    page: str
    line: int
    language: str
    text: str

    @property
    def place(self) -> str:
        """As editors know it."""
        return f"{self.page}:{self.line}"

    @property
    def first(self) -> str:
        """The first line."""
        return self.text.partition("\n")[0]


def blocks(page: str) -> list[Block]:
    """In order."""
    return parse(page, (ROOT / page).read_text(encoding="utf-8"))


def parse(page: str, text: str) -> list[Block]:
    """The blocks of `text`."""
    return [
        Block(page, text.count("\n", 0, found.start(2)) + 1, found[1], found[2])
        for found in _FENCE.finditer(text)
    ]

"""Reads the tables back out of a page."""

from __future__ import annotations

from html.parser import HTMLParser


class Tables(HTMLParser):
    """`found`: rows of texts by the name of the table, the heading first."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[str]]] = {}
        self._table = ""
        self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A table, a row or a cell begins."""
        name = dict(attrs).get("id") or ""
        if tag == "details" and name.startswith("table-"):
            self._table = name.removeprefix("table-")
        elif tag == "tr" and self._table:
            self.found.setdefault(self._table, []).append([])
        elif tag in ("td", "th") and self._table:
            self.found[self._table][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        """A cell or a table ends."""
        if tag in ("td", "th"):
            self._in_cell = False
        elif tag == "details":
            self._table = ""

    def handle_data(self, data: str) -> None:
        """Text of a cell."""
        if self._in_cell:
            self.found[self._table][-1][-1] += data

"""The page: one file that asks nothing of the network."""

from __future__ import annotations

import json
from importlib import resources
from typing import Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from consumer.report.document import Document
from consumer.report.table import FORMATS

_PLACE: Final = "consumer.report"


def render(document: Document, folder: str) -> str:
    """HTML of `document`; `folder`: name of the directory beside it that has the tables' files."""
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    figures = {figure.id: figure.spec for figure in document.figures}
    # "<" would end the script element, whatever is around it.
    specs = json.dumps(figures, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return made.from_string(_text("page.html.j2")).render(
        document=document,
        folder=folder,
        formats=FORMATS,
        style=Markup(_text("page.css")),
        script=Markup(_text("page.js")),
        plotly=Markup(get_plotlyjs()),
        specs=Markup(specs),
    )


def _text(name: str) -> str:
    return resources.files(_PLACE).joinpath(name).read_text(encoding="utf-8")

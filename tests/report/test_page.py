"""The page in a browser: nothing complains, everything is drawn, nothing is wider than the window."""

from __future__ import annotations

import json
import queue
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.report.conftest import Made

#: Notes what goes wrong in a page, from its beginning on.
PROBE = """<script>
const wrong = [];
for (const kind of ["error", "warn"]) console[kind] = (...words) => wrong.push(words.join(" "));
addEventListener("error", (event) => wrong.push(event.message || "a file could not be loaded"), true);
addEventListener("unhandledrejection", (event) => wrong.push(String(event.reason)));
document.addEventListener("securitypolicyviolation", (event) => wrong.push(event.violatedDirective));
const look = () => {
  const plots = [...document.querySelectorAll(".plot")];
  const text = (element) => getComputedStyle(element).color;
  parent.postMessage({
    wrong,
    width: innerWidth,
    content: document.documentElement.scrollWidth,
    undrawn: plots.filter((plot) => !plot.querySelector("svg")).map((plot) => plot.dataset.figure),
    wide: plots.filter((plot) => plot.scrollWidth > plot.clientWidth + 1).map((plot) => plot.dataset.figure),
    plots: plots.length,
    ink: text(document.body),
    paper: getComputedStyle(document.body).backgroundColor,
    tick: getComputedStyle(document.querySelector('[data-figure="shares"] .xtick text')).fill,
  }, "*");
};
const isDrawn = () => [...document.querySelectorAll(".plot")].every((plot) => plot.querySelector("svg"));
const wait = (tries) => isDrawn() || !tries ? setTimeout(look, 500) : setTimeout(wait, 200, tries - 1);
// Figures below the window wait for their turn; on paper there is none.
addEventListener("load", () => { dispatchEvent(new Event("beforeprint")); wait(100); });
</script>"""

#: Around the page, because a browser without a window is never narrower than 500 pixels.
FRAME = """<!doctype html><style>body {{ margin: 0 }} iframe {{ border: 0 }}</style>
<iframe src="/page" width="{width}" height="30000"></iframe>
<script>addEventListener("message", (event) => fetch("/seen", {{
  method: "POST", body: JSON.stringify(event.data)
}}));</script>"""


class Served(ThreadingHTTPServer):
    """Serves a page inside of its frame, and takes what was seen of it."""

    def __init__(self, page: str, width: int) -> None:
        self.pages = {"/page": page.replace("<head>", f"<head>{PROBE}", 1), "/": FRAME.format(width=width)}
        self.seen: queue.Queue[dict[str, Any]] = queue.Queue()
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(BaseHTTPRequestHandler):
    """To the browser."""

    server: Served

    def do_GET(self) -> None:
        """A page."""
        body = self.server.pages.get(self.path, "").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """What was seen."""
        self.server.seen.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def look(chromium: str, made: Made, folder: Path, width: int, is_dark: bool) -> dict[str, Any]:
    """What the probe has seen of the page in a window of `width` pixels."""
    server = Served(made.html, width)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    command = [
        *(chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
        f"--user-data-dir={folder}",
        f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
        *("--window-size=1400,2000", f"http://127.0.0.1:{server.server_port}/"),
    ]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return server.seen.get(timeout=60)
    finally:
        browser.terminate()
        browser.wait(30)
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_a_browser_has_nothing_to_complain_about(
    width: int, is_dark: bool, chromium: str, made: Made, tmp_path: Path
) -> None:
    """On a phone and on a laptop, in both themes, without a network."""
    seen = look(chromium, made, tmp_path, width, is_dark)
    assert seen["wrong"] == []
    assert (seen["undrawn"], seen["plots"] > 30) == ([], True)
    assert seen["width"] == width
    assert seen["content"] <= width
    assert seen["wide"] == []
    ink, paper = (sum(map(int, re.findall(r"\d+", seen[name])[:3])) / 3 for name in ("ink", "paper"))
    assert (ink > 200 and paper < 50) if is_dark else (ink < 60 and paper > 230)
    assert seen["tick"] == seen["ink"]

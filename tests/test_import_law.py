"""The import law: schemas <- online_model <- consumer, and determinism below the consumer."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Standard modules that reach the machine, the clock or another thread: not below `consumer`.
IMPURE = frozenset(
    """
    os time threading _thread socket socketserver ssl select selectors signal subprocess multiprocessing
    concurrent asyncio queue sched random secrets uuid getpass pwd platform shutil tempfile glob urllib http
    ctypes mmap atexit
    """.split()  # noqa: SIM905 - a list of quoted words is harder to read
)
PURE = frozenset(sys.stdlib_module_names) - IMPURE

#: pydantic's custom errors and undefined marker live in its core, and only there.
PYDANTIC = frozenset({"pydantic", "pydantic_core"})

ALLOWED = {
    "schemas": PURE | {"schemas", "numpy", "numba", "llvmlite", "msgspec"} | PYDANTIC,
    "online_model": PURE
    | {"schemas", "online_model", "numpy", "numba", "river", "sklearn", "scipy", "pandas", "yaml"}
    | {"msgspec", "threadpoolctl"}
    | PYDANTIC,
}
#: Calls that read the machine's clock although their module is harmless.
CLOCK_CALLS = frozenset({"now", "utcnow", "today"})
CLOCK_OWNERS = frozenset({"datetime", "date", "Timestamp"})


def violations(source: str, allowed: frozenset[str] | set[str]) -> list[str]:
    """What in `source` breaks the law, as ``line: what``."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value).split(".")[-1]
            if node.attr in CLOCK_CALLS and owner in CLOCK_OWNERS:
                found.append(f"{node.lineno}: reads the clock with {owner}.{node.attr}")
            if node.attr == "import_module":
                found.append(f"{node.lineno}: imports by name")
        elif isinstance(node, ast.Name) and node.id == "__import__":
            found.append(f"{node.lineno}: imports by name")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else [origin(node)]
            found += [f"{node.lineno}: imports {m}" for m in modules if m.split(".")[0] not in allowed]
    return found


def origin(node: ast.ImportFrom) -> str:
    """Module that names are imported from; a relative import is written with its dots."""
    return "." * node.level + (node.module or "")


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_what_the_law_allows(package: str) -> None:
    """`schemas` and `online_model` know no Kafka, no Prometheus, no clock, no thread and nobody above."""
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    broken = {
        f"{path.relative_to(ROOT)}:{line}"
        for path in files
        for line in violations(path.read_text(encoding="utf-8"), ALLOWED[package])
    }
    assert not broken


def test_the_consumer_does_not_import_the_tests() -> None:
    """The product does not lean on its tests."""
    allowed = set(sys.stdlib_module_names) | {"schemas", "online_model", "consumer"}
    for path in sorted((ROOT / "consumer").rglob("*.py")):
        for line in violations(path.read_text(encoding="utf-8"), allowed):
            assert "imports tests" not in line, f"{path}:{line}"


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import numpy, time",
        "from os import environ",
        "def late():\n    import threading",
        "from confluent_kafka import Consumer",
        "import prometheus_client as p",
        "from consumer.loop import run_once",
        "from . import spec",
        "import importlib\nimportlib.import_module('os')",
        "__import__('time')",
        "from datetime import datetime\nx = datetime.now()",
        "import datetime\nx = datetime.date.today()",
    ],
)
def test_a_violation_is_found(source: str) -> None:
    """The checker sees every kind of violation (it would be worthless otherwise)."""
    assert len(violations(source, ALLOWED["online_model"])) == 1


def test_schemas_may_not_look_at_the_model() -> None:
    """The lowest package does not import the one above it."""
    assert violations("from online_model.spec import Spec", ALLOWED["schemas"])
    assert not violations("from schemas.batch import Topic\nimport numpy as np", ALLOWED["schemas"])


@pytest.mark.parametrize("module", ["schemas.events", "schemas", "consumer.cli"])
def test_numba_waits_until_something_is_computed(module: str) -> None:
    """The published models and `segmenter --help` do without the third of a second it takes to import."""
    program = f"import sys, {module}; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0

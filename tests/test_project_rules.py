"""Rules of the repository that no linter checks."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock")
MAX_LINES = 400
MAX_BYTES = 500_000

#: Every address in the repository is of one of these hosts (or has no dot: a service in a compose file).
#: Package registries are not among them on purpose: where packages come from is the machine's business.
HOSTS = frozenset(
    """
    127.0.0.1 0.0.0.0 example.com example.org www.example.com www.example.org github.com
    www.apache.org kafka.apache.org maven.apache.org arrow.apache.org json-schema.org cloudevents.io
    www.asyncapi.com www.w3.org kubernetes.io prometheus.io grafana.com keepachangelog.com semver.org
    spdx.org www.tmforum.org riverml.xyz scikit-learn.org numba.pydata.org en.wikipedia.org doi.org arxiv.org
    """.split()  # noqa: SIM905 - a list of quoted words is harder to read
)


def committed(pattern: str = "") -> list[Path]:
    """Files that git knows or would add, whose name ends in `pattern`."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [ROOT / line for line in listed.stdout.splitlines() if line.endswith(pattern)]
    return [path for path in paths if path.is_file()]


def sources() -> list[tuple[str, str]]:
    """Name and text of every Python file."""
    return [(str(p.relative_to(ROOT)), p.read_text(encoding="utf-8")) for p in committed(".py")]


def addresses(text: str) -> Iterator[str]:
    """Hosts of the URLs in `text`."""
    for match in re.finditer(r"[a-z+]+://(?:[^\s/@'\"]+@)?([A-Za-z0-9._-]+)", text):
        yield match.group(1).rstrip(".").lower()


def requirements(lock: str) -> list[tuple[Requirement, list[str]]]:
    """Requirements of a lock file with their options."""
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert not [line for line in lines if line.startswith("-")], "a lock holds requirements only"
    rows = [(line.split(" --")[0], re.findall(r"--(\S+)", line)) for line in lines]
    return [(Requirement(requirement), options) for requirement, options in rows]


def test_every_address_is_of_a_known_host() -> None:
    """No file names a package registry, a machine or any host that is not listed here."""
    unknown = {}
    for path in committed():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        hosts = {h for h in addresses(text) if "." in h and h not in HOSTS}
        if hosts:
            unknown[str(path.relative_to(ROOT))] = hosts
    assert not unknown


def test_addresses_are_found() -> None:
    """Hosts are recognised with credentials, ports and paths."""
    text = "see https://user:word@www.example.org:81/x, and http://example.com."
    assert list(addresses(text)) == ["www.example.org", "example.com"]


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_pin_every_package_with_hashes(lock: str) -> None:
    """Each line pins one version and has at least one sha256; nothing says where to download."""
    assert "://" not in (ROOT / lock).read_text(encoding="utf-8")
    rows = requirements(lock)
    assert rows
    for requirement, options in rows:
        assert [s.operator for s in requirement.specifier] == ["=="], requirement
        assert options, f"{requirement} has no hash"
        assert all(re.fullmatch(r"hash=sha256:[0-9a-f]{64}", option) for option in options), requirement


@pytest.mark.parametrize(
    ("lock", "extras"),
    [(LOCKS[0], ("build", "registry")), (LOCKS[1], ("build", "docker", "registry", "dev"))],
)
def test_locks_satisfy_the_declared_dependencies(lock: str, extras: tuple[str, ...]) -> None:
    """Whatever pyproject.toml asks for is in the lock in a version it accepts."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + [x for e in extras for x in project["optional-dependencies"][e]]
    pinned: dict[str, list[str]] = {}
    for row, _ in requirements(lock):
        pinned.setdefault(canonicalize_name(row.name), []).append(next(iter(row.specifier)).version)
    for text in wanted:
        requirement = Requirement(text)
        if requirement.name == project["name"]:
            continue
        versions = pinned.get(canonicalize_name(requirement.name), [])
        assert versions, f"{requirement} is not in {lock}: run `make lock`"
        assert all(requirement.specifier.contains(v) for v in versions), f"{requirement}: {versions}"


def test_python_files_stay_short() -> None:
    """No Python file has 400 lines or more."""
    lengths = {name: text.count("\n") for name, text in sources()}
    assert not {name: lines for name, lines in lengths.items() if lines >= MAX_LINES}


def test_errors_are_not_swallowed() -> None:
    """Only the top of the command line catches everything; elsewhere a catch-all must raise again."""
    found = []
    for name, text in sources():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ExceptHandler) and name != "consumer/cli.py":
                caught = (
                    {n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)} if node.type else {"all"}
                )
                last = node.body[-1]
                again = isinstance(last, ast.Raise) and last.exc is None
                if caught & {"all", "Exception", "BaseException"} and not again:
                    found.append(f"{name}:{node.lineno}")
    assert not found


def test_nothing_is_left_undone_or_skipped() -> None:
    """No NotImplementedError is raised, and no test is skipped or expected to fail outside conftest.py."""
    found = []
    for name, text in sources():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Raise) and "NotImplementedError" in ast.dump(node):
                found.append(f"{name}:{node.lineno} raises NotImplementedError")
            if (
                isinstance(node, ast.Attribute)
                and node.attr in {"skip", "skipif", "xfail", "importorskip"}
                and ast.unparse(node.value) in {"pytest", "pytest.mark"}
                and name != "tests/conftest.py"
            ):
                found.append(f"{name}:{node.lineno} {ast.unparse(node)}")
    assert not found


def test_make_lists_every_target() -> None:
    """Each phony target of the Makefile has a recipe line with its help text; the agreed ones are there."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    targets = set(phony.group(1).split())
    assert targets >= {"setup", "demo", "test", "check", "bench", "clean"}
    assert targets == set(re.findall(r"^([a-z-]+):.*## \S", text, re.MULTILINE))


def test_ci_runs_the_tests_of_the_makefile() -> None:
    """CI's last command is the one people are told to use."""
    assert (ROOT / ".ci/run").read_text(encoding="utf-8").rstrip().endswith("\nmake test")


def test_no_file_is_large() -> None:
    """Packages, recordings and results do not belong into the repository; a stray one came in once."""
    assert [path.name for path in committed() if path.stat().st_size > MAX_BYTES] == []

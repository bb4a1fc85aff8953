"""Reads a Dockerfile and its ignore file, and takes the steps of a stage without Docker."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"

#: Left by the host's tools at build time, and not wanted from them: what pip loads stays in its cache.
_DROPPED: Final = frozenset({"--no-cache-dir"})


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction and what it says."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """Its words, without flags such as ``--from``."""
        return [word for word in self.text.split() if not word.startswith("--")]

    @property
    def flags(self) -> dict[str, str]:
        """Its flags."""
        pairs = (word[2:].partition("=") for word in self.text.split() if word.startswith("--"))
        return {name: value for name, _, value in pairs}

    @property
    def arguments(self) -> list[str]:
        """Of the exec form, a JSON array."""
        arguments = json.loads(self.text[self.text.index("[") :])
        assert isinstance(arguments, list), self
        return [str(argument) for argument in arguments]


def stages(text: str) -> list[list[Step]]:
    """Steps of each stage; the arguments before the first stage are a stage of their own."""
    found: list[list[Step]] = [[]]
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in filter(str.strip, re.sub(r"\\\n\s*", " ", lines).splitlines()):
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            found.append([])
        found[-1].append(Step(name, rest.strip()))
    return found


def assignments(step: Step, known: Mapping[str, str]) -> dict[str, str]:
    """Names and values of an ARG, ENV or LABEL with what is `known` put in."""
    pairs = re.findall(r'([\w.]+)=("[^"]*"|\S*)', step.text)
    return {name: filled(value.strip('"'), known) for name, value in pairs}


def filled(text: str, known: Mapping[str, str]) -> str:
    """`text` with the values of ``$NAME`` and ``${NAME}``."""
    return re.sub(r"\$\{?(\w+)\}?", lambda match: known.get(match[1], ""), text)


def context_files(root: Path = ROOT) -> Iterator[Path]:
    """Files of the build context, relative: what the last matching line of .dockerignore lets through."""
    lines = (root / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    for top in sorted(root.iterdir()):
        if not _passes(top.name, rules):
            continue  # as Docker does, nothing is looked for in it
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            relative = path.relative_to(root)
            if path.is_file() and all(_passes(str(p), rules) for p in [relative, *relative.parents][:-1]):
                yield relative


def _passes(name: str, rules: list[str]) -> bool:
    passes = True
    for rule in rules:
        pattern = rule.removeprefix("!")
        anywhere = pattern.startswith("**/")
        subject = name.rsplit("/", 1)[-1] if anywhere else name
        pattern = pattern.removeprefix("**/")
        if fnmatch.fnmatchcase(subject, pattern) or (not anywhere and name.startswith(f"{pattern}/")):
            passes = rule.startswith("!")
    return passes


@dataclass
class Stage:
    """A stage whose file system lies under `root`; `context` holds what is copied into it."""

    root: Path
    context: Path
    environment: dict[str, str]
    directory: str = "/"
    known: dict[str, str] = field(default_factory=dict)

    def inside(self, path: str) -> Path:
        """Where an absolute path of the image, or one in its working directory, lies here."""
        return self.root / (path if path.startswith("/") else f"{self.directory}/{path}").lstrip("/")

    def take(self, step: Step) -> None:
        """Does what the instruction says."""
        if step.name in ("ARG", "ENV"):
            self.known |= {k: v for k, v in assignments(step, self.known).items() if k not in self.known}
            if step.name == "ENV":
                self.environment |= assignments(step, self.known)
        elif step.name == "WORKDIR":
            self.directory = step.text
            self.inside(step.text).mkdir(parents=True, exist_ok=True)
        elif step.name == "COPY":
            *sources, target = step.words
            for source in sources:
                self._copy(self.context / source, self.inside(target))
        elif step.name == "RUN":
            self._run(step.arguments)
        else:
            assert step.name == "FROM", f"a step that is not known here: {step}"

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)

    def _run(self, arguments: list[str]) -> None:
        """The image's Python is the one that runs the tests, and absolute paths are those of `root`."""
        program, *rest = [a for a in arguments if a not in _DROPPED]
        program = sys.executable if program == "python" else program
        command = [
            str(self.inside(a)) if a.startswith("/") and a != sys.executable else a for a in [program, *rest]
        ]
        done = subprocess.run(
            command,
            cwd=self.inside(self.directory),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"

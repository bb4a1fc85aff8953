"""The Dockerfile: what it says, and what comes of its steps."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from consumer.config_sources import load_config
from consumer.http import Health, StatusServer
from schemas import kernel
from tests.deploy.dockerfile import DOCKERFILE, ROOT, Stage, Step, assignments, context_files, stages

BEFORE, BUILDER, RUNTIME = stages(DOCKERFILE.read_text(encoding="utf-8"))
HADOLINT = Path(sys.executable).parent / "hadolint"

#: As the kernel names them: <linux/prctl.h>, <linux/capability.h>.
_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE = 24, 1


def the(name: str, steps: list[Step]) -> Step:
    """The only step of that name."""
    (found,) = [step for step in steps if step.name == name]
    return found


def environment() -> dict[str, str]:
    """Variables of the finished image."""
    known: dict[str, str] = {"PATH": ""}
    found: dict[str, str] = {}
    for step in RUNTIME:
        if step.name in ("ARG", "ENV"):
            known |= assignments(step, known)
        if step.name == "ENV":
            found |= assignments(step, known)
    return found


def test_hadolint_finds_nothing() -> None:
    """Not even a remark."""
    done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_both_stages_stand_on_one_base_that_can_be_pinned() -> None:
    """The base is an argument with a tag and without an address by default; a digest may replace it."""
    base = assignments(the("ARG", BEFORE), {})["PYTHON_IMAGE"]
    assert re.fullmatch(r"python:3\.11[\w.-]+", base)
    for steps in (BUILDER, RUNTIME):
        assert the("FROM", steps).words[0] == "${PYTHON_IMAGE}"


def test_the_process_has_no_rights_and_no_shell() -> None:
    """A numeric user of at least 10000; exec forms everywhere; nothing is installed in the last stage."""
    assert re.fullmatch(r"(\d{5,}):\1", the("USER", RUNTIME).text)
    assert not [step for step in RUNTIME if step.name == "RUN"]
    for step in (*BUILDER, *RUNTIME):
        if step.name in ("RUN", "CMD", "ENTRYPOINT", "HEALTHCHECK"):
            assert step.arguments
    assert the("ENTRYPOINT", RUNTIME).arguments == ["segmenter"]
    assert the("CMD", RUNTIME).arguments == ["run"]
    assert the("STOPSIGNAL", RUNTIME).text == "SIGTERM"


def test_the_owner_of_the_volume_is_the_user() -> None:
    """Snapshots are written by the user, and nothing else belongs to it."""
    owners = [step.flags.get("chown") for step in RUNTIME if step.name == "COPY"]
    assert owners == [None, the("USER", RUNTIME).text]


def test_settings_of_the_image_are_settings() -> None:
    """Its variables are those of the service: it listens outside and keeps snapshots where the volume is."""
    found = environment()
    config = load_config(None, {k: v for k, v in found.items() if k.startswith("SEGMENTER_")}, {})
    assert (config.http.host, str(config.http.port)) == ("0.0.0.0", the("EXPOSE", RUNTIME).text)
    assert config.snapshots.uri == f"{the('WORKDIR', RUNTIME).text}/snapshots"
    labels = assignments(the("LABEL", RUNTIME), {"VERSION": "1", "REVISION": "r"})
    assert {name.removeprefix("org.opencontainers.image.") for name in labels} >= {
        "title", "description", "licenses", "version", "revision",
    }  # fmt: skip


def test_kernels_are_looked_for_as_they_were_compiled() -> None:
    """The same processor in both stages, by the same default: else each start compiles."""
    built: dict[str, str] = {}
    for step in BUILDER:
        if step.name in ("ARG", "ENV"):
            built |= assignments(step, built)
    for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES"):
        assert environment()[name] == built[name]


def test_only_what_the_image_needs_is_sent_to_the_builder() -> None:
    """Sources, lock and the files that pyproject.toml names; no tests, no secrets, no leftovers."""
    files = [str(path) for path in context_files()]
    assert {path.split("/")[0] for path in files} == {
        "LICENSE", "README.md", "consumer", "online_model", "pyproject.toml", "requirements.lock", "schemas",
    }  # fmt: skip
    assert "consumer/brokers/pom.xml" in files
    assert not [path for path in files if "__pycache__" in path or path.endswith(".pyc")]


@pytest.mark.parametrize("live", [True, False])
def test_the_health_check_says_whether_the_loop_is_alive(live: bool) -> None:
    """0 if /livez is good, another code if the loop is stuck, or nobody listens."""
    health = Health(stuck_after_s=3600 if live else -1)
    server = StatusServer("127.0.0.1", 0, CollectorRegistry(), health, dict)
    command = the("HEALTHCHECK", RUNTIME).arguments
    command[0] = sys.executable
    proxies = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    variables = proxies | {"SEGMENTER_HTTP__PORT": str(server.port)}
    try:
        done = subprocess.run(command, env=variables, capture_output=True, check=False, timeout=60)
    finally:
        server.close()
    assert (done.returncode == 0) == live, done.stderr
    gone = subprocess.run(command, env=variables, capture_output=True, check=False, timeout=60)
    assert gone.returncode != 0


@pytest.fixture
def built(tmp_path: Path, package_index: None) -> Iterator[Stage]:
    """The builder stage after its last step; what the last stage copies is read-only."""
    context = tmp_path / "context"
    for file in context_files():
        (context / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, context / file)
    foreign = ("NUMBA_", "SEGMENTER_", "PYTHON", "PYTEST_")
    variables = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    stage = Stage(tmp_path / "image", context, variables)
    for step in BUILDER:
        stage.take(step)
    shutil.rmtree(context)
    shutil.rmtree(stage.inside("/build"))
    installed = stage.inside("/opt/segmenter")
    for path in [installed, *installed.rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o222)
    yield stage
    for path in [installed, *installed.rglob("*")]:
        if path.is_dir():
            path.chmod(0o700)


def obey_modes() -> None:
    """In a child: the superuser too keeps to the modes of files, as the image's user does."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)


def run(stage: Stage, variables: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program of the image, in the image's environment."""
    program, *rest = arguments
    return subprocess.run(
        [stage.inside(f"/opt/segmenter/bin/{program}"), *rest],
        cwd=stage.inside("/state"),
        env=variables,
        preexec_fn=obey_modes,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)  # some 400 MB are installed, and kernels compiled
def test_the_steps_make_a_service_that_starts_without_compiling(built: Stage, tmp_path: Path) -> None:
    """Pinned packages alone suffice; on a read-only installation, without a home, kernels are just loaded."""
    variables = environment() | {"NUMBA_CACHE_DIR": str(tmp_path / "kernels"), "NUMBA_DEBUG_CACHE": "1"}
    del variables["HOME"], variables["PATH"]

    write = "import schemas; open(schemas.__path__[0] + '/x', 'w')"
    assert "PermissionError" in run(built, variables, "python", "-I", "-c", write).stderr
    version = run(built, variables, "segmenter", "version")
    assert version.returncode == 0, version.stderr
    assert version.stdout.startswith("segmenter ") or "0.1.0" in version.stdout

    sources = list(Path(kernel.__file__).parent.glob("*.py"))
    installed = [built.inside("/opt/segmenter").rglob(f"site-packages/schemas/{s.name}") for s in sources]
    assert all(found.stat().st_mtime.is_integer() for one in installed for found in one)
    ask = "from schemas.kernel import are_compiled; print(are_compiled())"
    assert run(built, variables, "python", "-I", "-c", ask).stdout.splitlines()[-1] == "True"
    done = run(built, variables, "python", "-I", "-m", "consumer.warmup")
    assert done.returncode == 0, done.stderr
    assert "data saved" not in done.stdout, "something was compiled"
    assert done.stdout.count("data loaded") > 10
    links = list((tmp_path / "kernels" / kernel._version()).glob("*/*.nbi"))
    assert links
    assert all(link.is_symlink() for link in links)
    assert not built.inside("/opt/segmenter/bin/pip").exists()
    assert list(built.inside("/state").iterdir()) == [built.inside("/state/snapshots")]

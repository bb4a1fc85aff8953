"""Kernels are compiled ahead, in another process, and completely."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from numba.core.registry import cpu_target
from structlog.testing import capture_logs

from consumer import compiled
from consumer.compiled import compile_kernels
from consumer.config import Config
from consumer.errors import ConfigError
from consumer.stopping import StopRequest
from schemas import kernel

ROOT = Path(kernel.__file__).parents[1]


def test_the_mark_is_of_sources_and_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled for another processor, or before a source was touched, is not compiled."""
    monkeypatch.setattr(kernel, "_cache_directory", lambda chosen: tmp_path / "beside")
    monkeypatch.setattr(kernel._config, "CACHE_DIR", str(tmp_path / "chosen"))
    assert not kernel.are_compiled()
    kernel.note_compiled()
    assert kernel.are_compiled()
    codegen = type(cpu_target.target_context.codegen())
    with monkeypatch.context() as other:
        other.setattr(codegen, "magic_tuple", lambda self: ("x86_64", "another", ""))
        assert not kernel.are_compiled()
    source = tmp_path / "copy" / "schemas" / "one.py"
    source.parent.mkdir(parents=True)
    source.touch()
    with monkeypatch.context() as other:
        other.setattr(kernel, "_HERE", source.parent)
        kernel.note_compiled()
        assert kernel.are_compiled()
        os.utime(source, (0, 0))
        assert not kernel.are_compiled()
    (tmp_path / "chosen").rename(tmp_path / "beside")  # what an image brings along
    assert kernel.are_compiled()


def test_what_is_there_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started."""
    monkeypatch.setattr(compiled, "are_compiled", lambda: True)
    monkeypatch.setattr(subprocess, "Popen", None)
    compile_kernels(Config(), StopRequest())


def test_a_request_to_stop_is_not_kept_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that compiles is ended with the one that waits for it."""
    monkeypatch.setattr(compiled, "are_compiled", lambda: False)
    monkeypatch.setattr(compiled, "_check", lambda config: None)
    monkeypatch.setattr(compiled, "_COMMAND", [sys.executable, "-c", "import time; time.sleep(60)"])
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    try:
        stop = StopRequest()
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        begin = time.monotonic()
        compile_kernels(Config(), stop)
        assert stop.has_come
        assert time.monotonic() - begin < 30
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_failure_is_told_and_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service goes on; it compiles for itself then."""
    monkeypatch.setattr(compiled, "are_compiled", lambda: False)
    monkeypatch.setattr(compiled, "_check", lambda config: None)
    monkeypatch.setattr(compiled, "_COMMAND", [sys.executable, "-c", "raise OSError('no room')"])
    with capture_logs() as logs:
        compile_kernels(Config(), StopRequest())
    assert logs[-1]["log_level"] == "warning"
    assert logs[-1]["problem"] == "OSError: no room"


def test_mistakes_are_told_before_the_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started for settings that nothing could be done with."""
    monkeypatch.setattr(compiled, "are_compiled", lambda: False)
    monkeypatch.setattr(subprocess, "Popen", None)
    kafka = Config().kafka.model_copy(update={"client": {"nonsense": 1}})
    with pytest.raises(ConfigError, match="nonsense"):
        compile_kernels(Config().model_copy(update={"kafka": kafka}), StopRequest())


def test_nothing_is_left_to_compile() -> None:
    """After the warm-up a month of a service, a promotion and a restart need no other kernel."""
    program = """
        import sys
        import numpy as np
        from numba.core.registry import CPUDispatcher
        from consumer.config import Config
        from consumer.warmup import warm_up
        from online_model.id_index import murmur2
        from tests.consumer.verify.book import live_month
        from tests.online_model.test_engine import history
        from tests.online_model.test_rebuild import Run, in_parts, restore

        def kernels():
            ours = ("schemas", "online_model")
            modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in ours]
            found = {f for m in modules for f in vars(m).values() if isinstance(f, CPUDispatcher)}
            return {(f.py_func.__qualname__, str(s)) for f in found for s in f.signatures}

        warm_up(Config())
        murmur2(np.frombuffer(b"by the sender of the month", np.uint8), 0, 26)
        warm = kernels()
        assert len(warm) > 15, warm
        live_month()
        assert kernels() <= warm, sorted(kernels() - warm)
        run = Run(history(1, 200))
        parts = in_parts(run, 3, 4)
        restore(run, parts, min(n for n, _ in parts))
        print(sorted(kernels() - warm))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"

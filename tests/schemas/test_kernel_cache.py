"""Where compiled kernels are kept, and how an installation that cannot be written lends its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from schemas import kernel


def _compiled(tmp_path: Path) -> Path:
    """A directory as numba leaves it."""
    place = tmp_path / "beside" / "schemas_1f"
    place.mkdir(parents=True)
    (place / "scan.py311.nbi").write_bytes(b"index")
    (place / "scan.py311.1.nbc").write_bytes(b"code")
    (place / "scan.py311.2.nbc.tmp.0123").write_bytes(b"half")
    return place.parent


def test_compiled_kernels_are_linked(tmp_path: Path) -> None:
    """Complete files are there for reading; what numba has written itself stays; twice is as good as once."""
    beside, chosen = _compiled(tmp_path), tmp_path / "chosen"
    (chosen / "schemas_1f").mkdir(parents=True)
    own = chosen / "schemas_1f" / "scan.py311.nbi"
    own.write_bytes(b"newer")
    for _ in range(2):
        kernel._lend(beside, chosen)
    names = sorted(path.name for path in (chosen / "schemas_1f").iterdir())
    assert names == ["scan.py311.1.nbc", "scan.py311.nbi"]
    assert own.read_bytes() == b"newer"
    assert (chosen / "schemas_1f" / "scan.py311.1.nbc").read_bytes() == b"code"


def test_a_place_that_cannot_be_written_is_left_to_numba(tmp_path: Path) -> None:
    """Nothing is raised at import: numba looks for another place, or says what is wrong."""
    (tmp_path / "file").touch()
    kernel._lend(_compiled(tmp_path), tmp_path / "file")


def test_a_chosen_directory_has_a_part_for_each_version_of_the_sources(tmp_path: Path) -> None:
    """Kernels of other sources in the same NUMBA_CACHE_DIR are never run."""
    code = "import schemas.kernel, numba; print(numba.config.CACHE_DIR)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(kernel.__file__).parents[1],
        env={"NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert done.stdout.strip() == str(tmp_path / kernel._version())

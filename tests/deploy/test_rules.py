"""Every alert fires when it must, is silent when it must, and does not mind that there is nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.monitoring.__main__ import files, main
from deploy.monitoring.rules import alerts, render
from deploy.monitoring.thresholds import FILE, Thresholds, seconds
from tests.deploy.rule_cases import CASES, Case, Series

PROMTOOL = shutil.which("promtool")


def promtool(*arguments: str, cwd: Path) -> str:
    """Its output; fails with it where it fails."""
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def unit_test(case: Case, series: Series, fires: bool) -> dict[str, Any]:
    """A unit test of Prometheus: at its end only the alerts with this name and severity are looked at."""
    matcher = f'alertname="{case.alert}", severity="{case.severity}", alertstate="firing"'
    count = {
        "expr": f"count(ALERTS{{{matcher}}}) or vector(0)",
        "eval_time": f"{case.minutes}m",
        "exp_samples": [{"labels": "{}", "value": int(fires)}],
    }
    return {
        "interval": f"{case.step_m}m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [count],
    }


def test_every_alert_has_a_case() -> None:
    """By name and severity, once; nothing is tested that is not there."""
    there = [(alert.name, alert.severity) for alert in alerts(Thresholds.load())]
    assert sorted(there) == sorted((case.alert, case.severity) for case in CASES)


@pytest.mark.usefixtures("prometheus_here")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_an_alert_fires_and_is_silent(case: Case, tmp_path: Path) -> None:
    """Firing, silent, and without any data (where only the absence itself is an alert)."""
    (tmp_path / "rules.yaml").write_text(render(Thresholds.load()), encoding="utf-8")
    absent = case.alert == "SegmenterAbsent"
    tests = [
        unit_test(case, case.firing, fires=True),
        unit_test(case, case.silent, fires=False),
        unit_test(case, {}, fires=absent),
    ]
    content = {"rule_files": ["rules.yaml"], "evaluation_interval": f"{case.step_m}m", "tests": tests}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    assert "SUCCESS" in promtool("test", "rules", "test.yaml", cwd=tmp_path)


@pytest.mark.usefixtures("prometheus_here")
def test_prometheus_takes_the_rules_and_the_configuration(tmp_path: Path) -> None:
    """As committed, and with its times divided for tests."""
    (tmp_path / "fast.yaml").write_text(render(Thresholds.load(haste=60), 1), encoding="utf-8")
    promtool("check", "rules", "--lint=all", "--lint-fatal", "fast.yaml", cwd=tmp_path)
    folder = Path(__file__).parent.parent.parent / "deploy" / "prometheus"
    promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", cwd=folder)
    promtool("check", "config", "prometheus.yaml", cwd=folder)


def test_what_is_committed_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    """Rules, boards and reference are those that the code makes."""
    assert main(["--check"]) == 0, capsys.readouterr().err
    assert len(files()) == 7


def test_an_alert_waits_for_two_scrapes_at_least() -> None:
    """One scrape that fails, or one that lies, wakes nobody; what says that it happened needs no wait."""
    t = Thresholds.load()
    counted = {"recalibration_failures"}
    for alert in alerts(t):
        assert seconds(t[alert.threshold].lasting) >= 60 or alert.threshold in counted, alert.name


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"restore": None}, "restore"),
        ({"restore": {"for": "soon"}}, "soon"),
        ({"restore": {"for": "30m", "warn": 1}}, "warn"),
        ({"unheard_of": {"for": "30m"}}, "unheard_of"),
    ],
)
def test_a_wrong_threshold_file_is_refused(change: dict[str, Any], problem: str, tmp_path: Path) -> None:
    """A missing, misspelt or unknown line is named."""
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    path = tmp_path / "thresholds.yaml"
    path.write_text(yaml.safe_dump(content | change), encoding="utf-8")
    with pytest.raises(ValueError, match=problem):
        Thresholds.load(path)

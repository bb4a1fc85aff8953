"""The five boards: for the person on call, the pipeline, the model, the segments and the process."""

from __future__ import annotations

from deploy.monitoring.board_model import model_and_drift
from deploy.monitoring.board_overview import overview
from deploy.monitoring.board_pipeline import pipeline
from deploy.monitoring.board_runtime import runtime
from deploy.monitoring.board_segments import segments
from deploy.monitoring.panels import Board
from deploy.monitoring.thresholds import Thresholds


def boards(t: Thresholds) -> list[Board]:
    """All of them, in the order of their menu."""
    return [overview(t), pipeline(t), model_and_drift(t), segments(t), runtime()]

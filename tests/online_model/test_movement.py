"""Laws of counted moves."""

from __future__ import annotations

import numpy as np

from online_model.movement import fell_silent, last_moves


def test_moves_by_hand() -> None:
    """Of six customers two moved from 1 to 2 lately, one from 2 to 1; one long ago, two not at all."""
    left = np.array([1, 1, 2, 1, 0, 0], np.int16)
    segment = np.array([2, 2, 1, 2, 2, -2], np.int16)
    since = np.array([10, 12, 11, 9, 15, 20], np.int64)
    assert last_moves(left, segment, since, 10) == {(1, 2): 2, (2, 1): 1}
    assert fell_silent(segment, since, 20) == 1
    assert fell_silent(segment, since, 21) == 0


def test_nobody_moves() -> None:
    """An empty partition."""
    nobody = np.empty(0, np.int16)
    assert last_moves(nobody, nobody, np.empty(0, np.int64), 0) == {}

"""Bringing an assigned partition to its last commit: from kept memory, a snapshot or the input."""

from consumer.restore.kept import KeptStates, Source
from consumer.restore.restorer import RestoreCancelled, Restored, Restorer, Surroundings

__all__ = ["KeptStates", "RestoreCancelled", "Restored", "Restorer", "Source", "Surroundings"]

"""What operators do with refused records: count them, read them, send them again."""

from consumer.dead_letters.letter import Letter, Selection
from consumer.dead_letters.reading import DeadLetters, Summary, summarise
from consumer.dead_letters.replay import Replay, ReplayPlan, Sent

__all__ = ["DeadLetters", "Letter", "Replay", "ReplayPlan", "Selection", "Sent", "Summary", "summarise"]

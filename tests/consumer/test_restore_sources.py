"""What a restore may begin with: a gap in the input is never taken for the whole of it by mistake."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from consumer.errors import StateUnknown
from consumer.restore import KeptStates, Restorer
from consumer.topics import TopicNames

NAMES = TopicNames.with_prefix("")
LAST = SimpleNamespace(
    n=1003, from_offsets=dict.fromkeys(NAMES.inputs, 8_900), to_offsets=dict.fromkeys(NAMES.inputs, 9_000)
)


class Store:
    """Snapshots of commits `numbers`; `listing` or `reading` may fail."""

    uri = "somewhere"

    def __init__(self, numbers: list[int], *, lists: bool = True, reads: bool = True) -> None:
        self._numbers, self._lists, self._reads = numbers, lists, reads

    def numbers(self, _: int) -> list[int]:
        """Newest first."""
        if not self._lists:
            raise OSError("access denied")
        return self._numbers

    def take(self, _: int, number: int, __: object) -> tuple[Any, Any]:
        """As the loader: it holds all before the last commit but a hundred records."""
        if not self._reads:
            raise OSError("network unreachable")
        offsets = [8_900] * 3
        manifest = SimpleNamespace(
            partition_count=6, watermark_us=0, rows=7, first_n=number, first_offsets=lambda _: offsets
        )
        return manifest, SimpleNamespace(number=0)


@pytest.fixture
def sources() -> Iterator[Any]:
    """`sources(store, low)`: what is tried one after the other, as if nothing could be brought up to date."""
    made = []

    def call(store: Any, low: int) -> list[str]:
        engine = SimpleNamespace(empty_state=None, add_partition=lambda *_: None)
        plan = SimpleNamespace(spec=SimpleNamespace(hash="h"))
        core: Any = SimpleNamespace(engine=engine, plan=plan, partition_count=6)
        around: Any = SimpleNamespace()
        restorer = Restorer(core, NAMES, store, KeptStates(), around)
        made.append(restorer)
        restorer._loader = store
        last: Any = LAST
        return [f"{source.name} {source.n}" for source in restorer._sources(0, last, [low, 0, low])]

    yield call
    for restorer in made:
        restorer._loader = SimpleNamespace(close=lambda: None)  # type: ignore[assignment]
        restorer.close()


UNLISTED = Store([], lists=False)
UNREAD = Store([1000, 990], reads=False)
INCOMPLETE = Store([1000, 990])
#: Of commits that the audit log does not know: it has lost its end, or they are of another service.
NEWER = Store([2000, 1990])


@pytest.mark.parametrize(
    ("store", "tried"),
    [
        (UNLISTED, []),
        (UNREAD, []),
        (INCOMPLETE, ["snapshot 1000", "snapshot 990"]),
        (NEWER, []),
        (Store([2000, 990, 0]), ["snapshot 990"]),
        (Store([0]), []),
        (Store([]), []),
    ],
)
def test_an_input_that_is_whole_takes_the_place_of_any_snapshot(
    sources: Any, store: Store, tried: list[str]
) -> None:
    """Whatever is wrong with those."""
    assert sources(store, 0) == [*tried, "input 0"]


@pytest.mark.parametrize("store", [UNLISTED, UNREAD, INCOMPLETE, NEWER, Store([2000, 990, 0])])
def test_what_is_left_of_an_input_does_not_take_the_place_of_snapshots(sources: Any, store: Store) -> None:
    """They hold what the input has lost: windows would be short and nobody would know."""
    with pytest.raises(StateUnknown, match="partition 0 cannot be restored: its snapshots") as refused:
        sources(store, 5_000)
    assert "move the snapshots" in refused.value.fix
    assert "Recover from lost snapshots" in refused.value.fix


@pytest.mark.parametrize("store", [Store([]), Store([0])])
def test_without_any_snapshot_the_gap_is_accepted(sources: Any, store: Store) -> None:
    """That is how an operator says so; the snapshot of before the first commit holds nothing."""
    assert sources(store, 5_000) == ["input 0"]

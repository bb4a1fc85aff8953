"""Lines of files: order, merging, and how far a file has come."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer import ndjson_input
from consumer.ndjson_input import EventFiles, Lines, progress
from consumer.replay_feed import STEP_LINES, Feed, partition_of, steps
from online_model.rows import NEVER
from schemas.times import format_time

_DAY_US = 86_400_000_000
_START_US = 20_000 * _DAY_US
_LATEST_US = _START_US + 1000 * _DAY_US


def _line(customer: str, time_us: int, kind: str = "data") -> bytes:
    event = {"event_id": "e", "customer_id": customer, "event_time": format_time(time_us), "type": kind}
    return json.dumps(event).encode()


def _read(paths: list[Path], topics: tuple[str, ...] = (), *, by_time: bool = True) -> Lines:
    with EventFiles([str(path) for path in paths], topics, _LATEST_US) as files:
        return Lines.concat(list(files.by_time() if by_time else files.in_order_given()))


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=30), min_size=1, max_size=4), st.data())
def test_merge_is_a_stable_sort(hours: list[list[int]], data: st.DataObject) -> None:
    """Files in order are merged by time, equal times by file, whatever the size of the blocks."""
    import tempfile

    size = data.draw(st.integers(60, 2000))
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, file in enumerate(hours):
            path = Path(folder) / f"{number}.ndjson"
            lines = [
                _line(f"{number}-{i}", _START_US + h * 1_200_000_000) for i, h in enumerate(sorted(file))
            ]
            path.write_bytes(b"\n".join(lines) + b"\n")
            paths.append(path)
        with EventFiles([str(path) for path in paths], (), _LATEST_US) as files:
            files._block = size
            merged = Lines.concat(list(files.by_time()))
    expected = sorted((h, number) for number, file in enumerate(hours) for h in file)
    assert merged.file.tolist() == [number for _, number in expected]
    for number in range(len(hours)):
        mine = merged.number[merged.file == number]
        assert mine.tolist() == list(range(1, len(hours[number]) + 1))


def test_lines_that_do_not_parse_go_on(tmp_path: Path) -> None:
    """Blank, broken and unknown lines are usage records without a key and keep their place."""
    known = _line("ä", _START_US, "invoice")
    (tmp_path / "a.ndjson").write_bytes(known + b"\r\n\n{broken\n[]\n" + b'{"type":"new","customer_id":7}')
    lines = _read([tmp_path / "a.ndjson"])
    assert lines.values == [known, b"", b"{broken", b"[]", b'{"type":"new","customer_id":7}']
    assert lines.keys == ["ä".encode(), None, None, None, None]
    assert lines.topic.tolist() == [1, 0, 0, 0, 0]
    assert lines.number.tolist() == [1, 2, 3, 4, 5]
    assert lines.order_us.tolist() == [_START_US] * 5


def test_a_file_named_after_a_topic_is_that_topic(tmp_path: Path) -> None:
    """So that a record on the wrong topic can be told."""
    path = tmp_path / "telecom.billing.v1.ndjson"
    path.write_bytes(_line("a", _START_US) + b"\n")
    assert _read(
        [path], ("telecom.usage.v1", "telecom.billing.v1", "telecom.customer.v1")
    ).topic.tolist() == [1]


def test_files_in_the_order_given(tmp_path: Path) -> None:
    """Nothing is merged: one file after the other."""
    for name, day in (("a", 5), ("b", 1)):
        (tmp_path / name).write_bytes(_line(name, _START_US + day * _DAY_US) + b"\n")
    assert _read([tmp_path / "a", tmp_path / "b"], by_time=False).file.tolist() == [0, 1]
    assert _read([tmp_path / "a", tmp_path / "b"]).file.tolist() == [1, 0]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_progress_follows_a_stream_in_order(seconds: list[int]) -> None:
    """In order, a stream has come to the time of every record, but for a last leap."""
    times = _START_US + np.sort(np.array(seconds, np.int64)) * 1_000_000
    came_to = progress(times, NEVER, complete=True)
    leaps = np.diff(times[max(len(times) - ndjson_input._CONFIRMATIONS - 1, 0) :])
    if (leaps <= _DAY_US).all():
        assert came_to.tolist() == times.tolist()


def test_progress_ignores_bad_clocks_and_late_records() -> None:
    """One record days ahead moves nothing, at the start, in the middle or at the end; nor a late one."""
    times = _START_US + np.arange(100, dtype=np.int64) * 60_000_000
    for at in (0, 50, 99):
        wrong = times.copy()
        wrong[at] += 3 * _DAY_US
        assert progress(wrong, NEVER, complete=True).max() == times[98 if at == 99 else 99]
    late = times.copy()
    late[50] -= 20 * _DAY_US
    came_to = progress(late, NEVER, complete=True)
    assert (np.delete(came_to, 50) == np.delete(times, 50)).all()
    assert came_to[50] == times[49]


def test_steps_end_where_a_scan_begins(tmp_path: Path) -> None:
    """A step holds lines of one interval and at most `STEP_LINES` of them; nothing is lost."""
    hour = 3_600_000_000
    path = tmp_path / "a.ndjson"
    hours = [0] * (STEP_LINES + 5) + [1] * 3 + [4] * 20
    path.write_bytes(b"\n".join(_line("a", _START_US + h * hour) for h in hours))
    with EventFiles([str(path)], (), _LATEST_US) as files:
        sizes = [part.n for part in steps(files.by_time(), hour)]
    assert sizes == [STEP_LINES, 5, 3, 20]


def test_offsets_count_per_partition_and_topic(tmp_path: Path) -> None:
    """Every partition and topic counts from 0 without gaps, and every record's line is known."""
    path = tmp_path / "a.ndjson"
    kinds = ("data", "invoice", "profile")
    path.write_bytes(b"\n".join(_line(f"c{i % 7}", _START_US, kinds[i % 3]) for i in range(60)))
    lines = _read([path])
    feed = Feed(3)
    seen: dict[tuple[int, int], list[int]] = {}
    for part in (lines.take(slice(0, 25)), lines.take(slice(25, None))):
        raw, positions = feed.poll(part)
        for i in range(raw.n):
            at = (int(raw.partition[i]), int(raw.topic[i]))
            assert at[0] == partition_of(raw.keys[i] or b"", 3)
            seen.setdefault(at, []).append(int(raw.offset[i]))
            assert feed.places.of(*at, int(raw.offset[i])) == (0, int(part.number[i]))
        for at, next_offset in positions.next_offset.items():
            assert next_offset == len(seen[at])
    assert all(offsets == list(range(len(offsets))) for offsets in seen.values())


def test_partitions_are_those_of_java() -> None:
    """Keys hash as org.apache.kafka.common.utils.Utils.murmur2, whose published test vectors these are."""
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    for key, value in known.items():
        assert partition_of(key, 1000) == (value & 0x7FFFFFFF) % 1000

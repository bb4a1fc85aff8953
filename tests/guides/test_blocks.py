"""What holds the pages and their tests together: no block escapes, no exception outlives its reason."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from consumer.brokers import Broker
from schemas.rejects import Reason
from tests.guides.markdown import PAGES, ROOT, Block, blocks, parse
from tests.guides.not_run import NOT_RUN, why_not
from tests.guides.outputs import missing_json, missing_lines
from tests.guides.stage import SUBSTITUTIONS, Stage

RUN = {"sh", "python", "yaml"}
COMPARED = {"text", "json"}
EVERY = [block for page in PAGES for block in blocks(page)]


def test_no_fence_is_overlooked() -> None:
    """Also none that is indented, or of another kind of fence."""
    for page in PAGES:
        fences = re.findall(r"^\s*(?:```|~~~)", (ROOT / page).read_text("utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(blocks(page)) > 0, page


def test_every_block_is_run_compared_or_listed_with_a_reason() -> None:
    """A picture is neither."""
    strays = [b.place for b in EVERY if b.language not in RUN | COMPARED | {"mermaid"} and why_not(b) is None]
    assert strays == []
    assert all(len(reason) > 15 for reason in NOT_RUN.values())


def test_every_entry_of_the_list_is_used_once() -> None:
    """What no page has any more goes from the list as well."""
    uses = {key: [b for b in EVERY if b.page == key[0] and b.text.startswith(key[1])] for key in NOT_RUN}
    assert {key: len(found) for key, found in uses.items() if len(found) != 1} == {}


def test_every_substitution_is_used() -> None:
    """Nothing is replaced that no page says."""
    texts = [block.text for block in EVERY]
    assert [p for p in SUBSTITUTIONS if not any(re.search(p, text) for text in texts)] == []


def test_an_output_follows_what_was_run() -> None:
    """Otherwise nothing would be compared with it."""
    for page in PAGES:
        listed = blocks(page)
        assert listed[0].language not in COMPARED
        for before, block in pairwise(listed):
            if block.language in COMPARED:
                assert before.language in {"sh", "python"}, block.place
                assert why_not(before) is None, block.place


def test_links_lead_somewhere() -> None:
    """Files exist, and headings of the pages that are linked to."""
    broken = []
    for page in [*PAGES, "deploy/RUNBOOK.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text("utf-8")):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            path = (ROOT / page).parent / name if name else ROOT / page
            if not path.exists() or (anchor and anchor not in anchors(path)):
                broken.append(f"{page}: {target}")
    assert broken == []


def anchors(path: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_leads_to_every_guide_and_guides_to_each_task() -> None:
    """One file per kind of user."""
    text = (ROOT / "README.md").read_text("utf-8")
    guides = [page for page in PAGES if page.startswith("deploy/guides/")]
    assert len(guides) == 5
    assert [guide for guide in guides if guide not in text] == []
    assert [g for g in guides if "## What can go wrong" not in (ROOT / g).read_text("utf-8")] == []


def test_every_reason_of_a_reject_has_its_fix() -> None:
    """In the guide for those who send."""
    text = (ROOT / "deploy/guides/data-engineer.md").read_text("utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [reason.value for reason in Reason]


# -- the comparison and the stage --------------------------------------------------------------------


def test_a_number_may_be_another_one_and_a_word_may_not() -> None:
    """White space is white space, `...` is anything, and columns must be there."""
    said = "segment\tcustomers\ns1\t157\nat 2026-03-04T10:00:00.123Z: k = 7\n"
    assert missing_lines("segment  customers\ns1  98\n", said) == []
    assert missing_lines("at 2025-01-01T00:00:00Z: ...\n...\n", said) == []
    assert missing_lines("segment  members\n", said) == ["segment  members"]
    assert missing_lines("s2  157\n", said) == ["s2  157"]
    assert missing_lines("s1\n", said) == ["s1"]


def test_json_must_have_the_fields_with_their_kinds() -> None:
    """Other fields and values may be there."""
    said = '{"a": 1, "b": [{"c": "x", "d": null}], "e": true}\n{"z": 1}'
    assert missing_json('{"a": 2.5, "b": [{"c": "y"}]}', said) == []
    assert missing_json('{"e": "..."}', said) == []
    assert missing_json('{"z": 3}', said) == []
    assert missing_json('{"a": "1"}', said) == ["$.a is 1, not like '1'"]
    assert missing_json('{"b": [{"f": 1}]}', said) == ["$.b[].f is not there"]
    assert missing_json('{"b": [1]}', '{"b": []}') == ["$.b is empty"]
    assert missing_json('{"e": 1}', said) == ["$.e is True, not like 1"]
    assert missing_json("{}", "no document") == ["there is no JSON"]


def test_blocks_are_found_with_their_lines() -> None:
    """As editors count."""
    page = "# A\n\n```sh\nls\n```\ntext\n```python\n1\n2\n```\n"
    assert parse("p", page) == [Block("p", 4, "sh", "ls\n"), Block("p", 8, "python", "1\n2\n")]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """Without a broker behind its address."""
    return Stage(Broker("127.0.0.1:1", "explicit", "nobody", lambda: None), tmp_path)


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("sh", "true\nfalse\necho not reached", "ended with 1"),
        ("sh", "segmenter run --config absent.yaml", "absent.yaml"),
        ("text", "never said", "not said"),
        ("yaml", "kafka: {}", "the name of the file"),
        ("yaml", "# settings.yaml\nkafka: {bootstrp: x}", "did you mean kafka.bootstrap"),
        ("perl", "1", "neither run nor compared"),
    ],
)
def test_what_goes_wrong_fails(language: str, text: str, words: str, stage: Stage) -> None:
    """Commands, programs that should stay, outputs, files without a name or with a mistake, others."""
    with pytest.raises(AssertionError, match=words), stage:
        stage.run(Block("page", 1, language, text))


def test_python_blocks_share_their_names(stage: Stage) -> None:
    """As cells of a notebook, until the next page; an error names the page and the line."""
    stage.run(Block("page", 1, "python", "a = 1"))
    stage.run(Block("page", 5, "python", "print(a + 1)"))
    stage.run(Block("page", 8, "text", "2\n"))
    with pytest.raises(ZeroDivisionError) as caught:
        stage.run(Block("page", 20, "python", "b = 1\nb / 0"))
    assert [(str(entry.path), entry.lineno + 1) for entry in caught.traceback][-1] == ("page", 21)
    stage.begin_page()
    with pytest.raises(NameError):
        stage.run(Block("other", 1, "python", "a"))


def test_what_is_printed_is_run_with_names_and_sizes_of_a_test(stage: Stage) -> None:
    """Topics, addresses, ports; and the commands of the tests are those of this project."""
    stage.run(
        Block("page", 1, "sh", 'echo kafka:9092 localhost:9464 "telecom.usage.v1" snapshots/segmenter/x')
    )
    address, port, topic, folder = stage.said.split()
    assert address == "127.0.0.1:1"
    assert re.fullmatch(r"127.0.0.1:\d+", port)
    assert re.fullmatch(r"guide-\w+\.telecom\.usage\.v1", topic)
    assert re.fullmatch(r"snapshots/guide-\w+/x", folder)
    stage.run(Block("page", 1, "sh", "segmenter config show"))
    stage.run(Block("page", 1, "text", "app.instance   a   env SEGMENTER_APP__INSTANCE   ..."))

"""Documents that match, against Python's own search of every text."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pytest

from workbench import Run, open_run
from workbench.errors import BadInputError, NotFoundError, UnsupportedError
from workbench.search import documents, documents_matching, read_pattern, strongest_experts


@pytest.fixture(scope="module")
def run(run_path: Path) -> Run:
    return open_run(run_path)


@pytest.mark.parametrize(
    ("text", "regex"),
    [("print", False), ("a.b", False), (r"(?i)PRINT\((.)", True), (r"\bend\b", True), ("[<]/?p>", True)],
)
def test_hits_are_the_first_match_of_every_document(run: Run, text: str, regex: bool) -> None:
    pattern = re.compile(text if regex else re.escape(text))
    texts = {int(doc): run.text(int(doc)) or "" for doc in run.documents["doc"]}
    expected = {doc: found.span() for doc, body in texts.items() if (found := pattern.search(body))}
    found = documents_matching(run, text, regex)
    assert found.total == len(expected) == len(found.hits)
    assert (
        dict(zip(found.hits["doc"], zip(found.hits["start"], found.hits["end"], strict=True), strict=True)) == expected
    )
    labels = run.documents["label"].iloc[list(expected)]
    assert found.by_label.to_dict() == labels.value_counts().to_dict()
    for hit in found.hits.to_dict("records"):
        body = texts[hit["doc"]]
        assert hit["match"] == body[hit["start"] : hit["end"]]
        assert hit["before"] + hit["match"] + hit["after"] in body
        tokens = run.tokens([hit["first_row"], hit["last_row"]])
        assert tokens["doc"].tolist() == [hit["doc"]] * 2
        assert (tokens["start"].iloc[0], tokens["end"].iloc[1]) == (hit["start"], hit["end"])  # a token per character


def test_limit_and_label_bound_the_hits_and_not_the_count(run: Run) -> None:
    every = documents_matching(run, "e")
    few = documents_matching(run, "e", limit=2)
    assert few.total == every.total > 2
    assert few.hits.equals(every.hits.head(2))
    lua = documents_matching(run, "e", label="lua")
    assert lua.total == every.by_label["lua"]
    assert set(lua.hits["label"]) == {"lua"}
    assert documents_matching(run, "zebra").hits.empty


def test_spans_are_characters_and_not_bytes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(run), "texts", lambda self: iter([(0, pa.array(["é€ über", None, "über😀x"]))]))
    for text, regex in (("über", False), ("ü.er", True)):
        hits = documents_matching(run, text, regex).hits
        assert hits[["doc", "start", "end", "match"]].values.tolist() == [[0, 3, 7, "über"], [2, 0, 4, "über"]]


@pytest.mark.parametrize("text", ["(", "a(?=b)", "x*", "^", "", r"\1", "\ud800"])
def test_expressions_that_cannot_be_used_are_refused(run: Run, text: str) -> None:
    with pytest.raises(BadInputError, match="no regular expression|matches the empty text|is empty|not Unicode"):
        documents_matching(run, text, regex=True)


def test_runs_and_labels_that_cannot_be_searched(run: Run, sound_run: Path) -> None:
    with pytest.raises(UnsupportedError, match="holds no texts"):
        documents_matching(open_run(sound_run), "a")
    with pytest.raises(NotFoundError, match="cobol"):
        documents_matching(run, "a", label="cobol")


def test_slashes_make_an_expression() -> None:
    assert read_pattern("/a+/") == ("a+", True)
    assert [read_pattern(text) for text in ("/", "//", "a/b", "/a")] == [(t, False) for t in ("/", "//", "a/b", "/a")]


def test_strongest_experts_have_the_largest_sums(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    hits = documents_matching(run, "print", limit=3).hits
    monkeypatch.setattr(documents, "SPAN_TOKENS", 4)
    best = strongest_experts(run, hits, 1, n=2)
    assert best["hit"].tolist() == [0, 0, 1, 1, 2, 2]
    for hit, part in best.groupby("hit"):
        first = int(hits.loc[hit, "first_row"])
        _, expert, score = run.routing(range(first, first + 4), 1).pairs()
        sums = {e: float(score[expert == e].sum()) for e in set(expert.tolist())}
        assert part["sum"].tolist() == pytest.approx(sorted(sums.values(), reverse=True)[:2])
        assert part["sum"].tolist() == pytest.approx([sums[e] for e in part["expert"]])
    assert strongest_experts(run, documents_matching(run, "zebra").hits, 0).empty


def test_hits_can_be_passed_over(run: Run) -> None:
    every = documents_matching(run, "e")
    assert len(every.hits) > 3
    for offset in range(len(every.hits) + 2):
        some = documents_matching(run, "e", limit=2, offset=offset)
        assert some.total == every.total
        assert some.hits["doc"].tolist() == every.hits["doc"].tolist()[offset : offset + 2]

"""A corpus of text: tokens, offsets and hostile text come through exactly, and the run opens without its model."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from datasets import Dataset

from workbench import Run, open_run
from workbench.errors import WorkbenchError
from workbench.export import export_run

GOLDEN = Path(__file__).parents[2] / "golden"
TEXTS = [
    "<script>alert('x')</script>\n\tif a < b:",
    "é costs 5 € 😀😀!",
    "trailing spaces   ",
    "x" * 130,
]


@pytest.fixture(scope="module")
def run(tmp_path_factory, byte_tokenizer) -> Run:
    """A run whose model's folder is gone."""
    folder = tmp_path_factory.mktemp("text")
    model = Path(shutil.copytree(GOLDEN / "tiny-vd", folder / "model"))
    byte_tokenizer.save_pretrained(model)
    Dataset.from_list([{"text": text, "label": "a"} for text in TEXTS]).to_parquet(str(folder / "corpus.parquet"))
    export_run(model, folder / "corpus.parquet", folder / "run")
    shutil.rmtree(model)
    return open_run(folder / "run")


def test_texts_are_kept_exactly(run) -> None:
    assert [run.text(doc) for doc in range(len(TEXTS))] == TEXTS
    with pytest.raises(WorkbenchError, match="no document 4; it has 0 to 3"):
        run.text(4)


def test_token_texts_join_to_the_text(run) -> None:
    tokens = run.tokens()
    for doc, text in enumerate(TEXTS):
        pieces = run.token_text(tokens.loc[tokens["doc"] == doc, "token"].to_numpy())
        shown = "".join(pieces)
        for whole, parts in (("é", "‹C3›‹A9›"), ("€", "‹E2›‹82›‹AC›"), ("😀", "‹F0 9F›‹98›‹80›")):
            shown = shown.replace(parts, whole)
        assert shown == text


def test_offsets_point_at_the_characters(run) -> None:
    tokens = run.tokens()
    for row in tokens.itertuples():
        piece = run.token_text([row.token])[0]
        spanned = TEXTS[row.doc][int(row.start) : int(row.end)]
        assert spanned == piece or (len(spanned) == 1 and "‹" in piece)
    last = tokens.groupby("doc")["end"].max()
    assert last.tolist() == [len(text) for text in TEXTS]


def test_the_start_of_text_token_is_in_no_row(run) -> None:
    assert run.documents["bos"].tolist() == [0] * len(TEXTS)
    assert (run.tokens()["token"] != 0).all()
    assert run.tokens().groupby("doc")["position"].min().tolist() == [1] * len(TEXTS)
    for doc, text in enumerate(TEXTS):
        assert run.input_ids(doc).tolist() == run.tokenizer()(text)["input_ids"]


def test_windows_follow_each_other(run) -> None:
    first, count = int(run.documents["window"][3]), 3  # 131 ids, the first of which opens all windows of 64
    contexts = [run.context(window, 0, 5) for window in range(first, first + count)]
    assert [len(context) for context in contexts] == [63, 55, 12]
    assert [int(context["position"].iloc[0]) for context in contexts] == [1, 64, 119]
    assert "".join("".join(context["text"]) for context in contexts) == TEXTS[3]


def test_examples_show_their_token(run) -> None:
    expert = int(run.experts(1)["mass"].idxmax())
    for example in run.examples(1, expert, 8).itertuples():
        context = run.context(example.window, 1, expert).set_index("position")
        assert context.loc[example.position, "text"] == example.token_text
        assert context.loc[example.position, "score"] == pytest.approx(example.score, rel=2e-3)
        assert example.source == ""

"""Characters that are split over tokens are shown whole, with each token's share, wherever a text is read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from workbench.analysis.attribution.prompt import Prompt
from workbench.export import export_run
from workbench.report import expert_report
from workbench.store import Run, open_run
from workbench.store.token_text import SHARE, visible, visible_shares, whole_characters

DEMO = Path("monet_model/demo")
TEXTS = ["你好，世界。这是一个测试。", "नमस्ते दुनिया", "fun 😀👩‍👩‍👧 day", "plain text only", "a\u202eb"]


def hexadecimal(raw: bytes) -> str:
    """Bytes as ``token_pieces`` shows them: the beginning of a character together, what continues one apart."""
    begun = raw[0] >= 0xC0
    pieces = [raw] if begun else [raw[at : at + 1] for at in range(len(raw))]
    return "".join(f"‹{piece.hex(' ').upper()}›" for piece in pieces)


@given(st.text(st.characters(min_codepoint=0x80, codec="utf-8"), min_size=1, max_size=6), st.data())
def test_however_bytes_are_cut_every_piece_names_its_character(text: str, data: st.DataObject) -> None:
    pieces, expected = [], []
    for character in text:
        raw = character.encode()
        cuts = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1))))
        parts = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
        pieces += [character] if len(parts) == 1 else [hexadecimal(part) for part in parts]
        marks = [f"‹{character} {n}/{len(parts)}›" for n in range(1, len(parts) + 1)]
        expected += [character] if len(parts) == 1 else marks
    assert whole_characters(pieces) == expected


@pytest.mark.parametrize(
    "pieces",
    [["‹82›"], ["‹E2 82›"], ["‹E2›", "a", "‹82›", "‹AC›"], ["‹FF›", "‹FE›"], ["‹E2›", "<s>", "‹82›‹AC›"], []],
)
def test_bytes_that_are_no_character_stay(pieces: list[str]) -> None:
    assert whole_characters(pieces) == pieces


def test_a_token_may_end_one_character_and_begin_another() -> None:
    assert whole_characters(["‹E4 BD›", "‹A0›‹E5›", "‹A5›‹BD›!"]) == ["‹你 1/2›", "‹你 2/2›‹好 1/2›", "‹好 2/2›!"]


def test_a_stretch_may_begin_inside_a_character() -> None:
    assert whole_characters(["‹BD›", "‹A0›", "‹E4›", "‹BD›", "‹A0›"]) == [
        "‹BD›",
        "‹A0›",
        "‹你 1/3›",
        "‹你 2/3›",
        "‹你 3/3›",
    ]


def test_what_is_hidden_stays_escaped_inside_a_share() -> None:
    assert visible("‹\u202e 1/3›\u202e") == "‹\\u202e 1/3›\\u202e"
    assert visible_shares("‹\u202e 2/3› x") == (("\\u202e", "2/3"), ("·x", ""))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The demo model, whose byte-level vocabulary splits all of these characters, over a few texts."""
    folder = tmp_path_factory.mktemp("unicode")
    rows = [{"text": text, "label": "ab"[n % 2]} for n, text in enumerate(TEXTS)]
    Dataset.from_list(rows).to_parquet(folder / "corpus.parquet")
    shutil.copytree(DEMO, folder / "model")
    export_run(folder / "model", folder / "corpus.parquet", folder / "run")
    return open_run(folder / "run")


def unsplit(pieces: list[str]) -> str:
    """The text that pieces show: every first share is the character, and the later ones repeat it."""
    return "".join(SHARE.sub(lambda share: share[1] if share[2] == "1" else "", piece) for piece in pieces)


def test_rows_contexts_and_windows_read_as_the_text(run: Run) -> None:
    for doc, text in enumerate(TEXTS):
        row, count = run.documents.loc[doc, ["row", "tokens"]]
        assert unsplit(run.row_text(slice(row, row + count))) == text
        assert run.row_text([row]) == run.row_text(slice(row, row + count))[:1]
        context = run.context(run.documents.loc[doc, "window"], 0, 5)
        assert unsplit(context["text"].tolist()) == text
    expert = int(run.experts(0)["mass"].idxmax())
    examples = run.examples(0, expert, 32)
    assert any("/" in text and "‹" in text for text in examples["token_text"])
    assert not examples["token_text"].str.contains(r"‹[0-9A-F]{2}").any()
    contexts = run.contexts(0, expert, examples["row"], before=40, after=40)
    for example, near in contexts.groupby("example"):
        assert unsplit(near["text"].tolist()) == TEXTS[examples["doc"][example]]


def test_a_prompt_reads_as_its_text(run: Run) -> None:
    for text in TEXTS:
        assert unsplit(Prompt.tokenise(run.tokenizer(), text, 256).shown) == text


def test_a_report_shows_characters_and_no_bytes(run: Run, tmp_path: Path) -> None:
    expert = int(run.experts(0)["mass"].idxmax())
    expert_report(run, 0, expert, "html", tmp_path / "e.html")
    page = (tmp_path / "e.html").read_text()
    assert '<span class="share">' in page
    assert "<sub>1/3</sub>" in page
    assert "‹E" not in page

"""Control tokens are read and not counted, wherever they stand; their names in a text are text."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from datasets import Dataset

from workbench.analysis.attribution.prompt import Prompt
from workbench.analysis.windows import read_windows
from workbench.errors import BadInputError
from workbench.export import export_run
from workbench.export.scan import CorpusSummary
from workbench.store import Run, open_run, verify_run

GOLDEN = Path(__file__).parents[2] / "golden"
PACKED = [1, 40, 41, 42, 2, 1, 50, 51, 2]  # 1 starts a text, 2 ends one


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Run:
    """A run of packed rows, read in windows of four ids."""
    folder = tmp_path_factory.mktemp("packed")
    rows = [{"input_ids": ids, "label": "a"} for ids in (PACKED, [60, 61, 2], [2], [1], [])]
    Dataset.from_list(rows).to_parquet(folder / "corpus.parquet")
    export_run(GOLDEN / "tiny-vd", folder / "corpus.parquet", folder / "run", context=4)
    return open_run(folder / "run")


def test_control_tokens_inside_a_document_are_no_rows(packed) -> None:
    assert packed.tokens()["token"].tolist() == [40, 41, 42, 50, 51, 60, 61]
    assert packed.tokens()["position"].tolist() == [1, 2, 3, 6, 7, 0, 1]
    assert packed.documents["tokens"][:3].tolist() == [5, 2, 0]
    assert packed.input_ids(0).tolist() == PACKED
    assert verify_run(packed.path) == []


def test_the_model_still_reads_them(packed) -> None:
    windows = [ids.tolist() for ids, _ in packed.windows_of(0)]
    assert windows == [[1, 40, 41, 42], [1, 2, 1, 50], [1, 51, 2]]
    assert [rows.tolist() for _, rows in packed.windows_of(0)] == [[-1, 0, 1, 2], [-1, -1, -1, 3], [-1, 4, -1]]


def test_no_loss_is_taken_at_them(packed) -> None:
    windows = read_windows(packed, packed.documents)
    assert windows.predicted == 3 + 1 + 1 + 1  # of the first document's windows, and 61


def test_contexts_go_around_them(packed) -> None:
    expert = int(packed.experts(0)["mass"].idxmax())
    around = packed.contexts(0, expert, [3], before=9, after=9)
    assert (around["position"].tolist(), around["token"].tolist()) == ([6], [50])
    around = packed.contexts(0, expert, [1], before=1, after=9)
    assert around[["left", "right"]].values.tolist() == [[0, 2], [1, 1], [2, 0]]


def test_every_window_opens_with_the_start_of_text_token(packed) -> None:
    assert packed.context(1, 0, 0)["position"].tolist() == [6]
    assert packed.documents["window"].tolist()[:2] == [0, 3]


def test_a_context_must_hold_more_than_the_start_of_text_token(tmp_path) -> None:
    Dataset.from_list([{"input_ids": PACKED, "label": "a"}]).to_parquet(tmp_path / "corpus.parquet")
    with pytest.raises(BadInputError, match="context must be at least 2"):
        export_run(GOLDEN / "tiny-vd", tmp_path / "corpus.parquet", tmp_path / "run", context=1)


TYPED = ["<s>struck</s> out", "a <pad> b", "nothing special"]


@pytest.fixture(scope="module")
def typed(tmp_path_factory, byte_tokenizer) -> tuple[Run, CorpusSummary]:
    """A run of texts in which names of control tokens are typed, and the summary of its corpus."""
    folder = tmp_path_factory.mktemp("typed")
    model = Path(shutil.copytree(GOLDEN / "tiny-vd", folder / "model"))
    byte_tokenizer.save_pretrained(model)
    Dataset.from_list([{"text": text, "label": "a"} for text in TYPED]).to_parquet(folder / "corpus.parquet")
    told: list[CorpusSummary] = []
    export_run(model, folder / "corpus.parquet", folder / "run", report=told.append)
    return open_run(folder / "run"), told[0]


def test_names_of_control_tokens_in_a_text_are_text(typed) -> None:
    run, summary = typed
    for doc, text in enumerate(TYPED):
        ids = run.input_ids(doc)
        assert ids[0] == 0
        assert not set(ids[1:].tolist()) & {0, 1, 2}
        assert "".join(run.token_text(ids[1:])) == text
    assert summary.typed_control == 2
    assert any("control token" in note and ": 2." in note for note in run.manifest["corpus"]["notes"])
    assert verify_run(run.path) == []


def test_a_typed_start_of_text_does_not_double_the_prompts_own(typed) -> None:
    prompt = Prompt.tokenise(typed[0].tokenizer(), "<s>struck", 64)
    assert prompt.ids[0] == 0
    assert 0 not in prompt.ids[1:]
    assert "".join(prompt.shown) == "<s>struck"


def test_a_later_window_repeats_the_end_of_the_one_before(tmp_path) -> None:
    """So that no token is read without text in front of it; what is repeated counts once."""
    ids = [1, *range(40, 70)]
    Dataset.from_list([{"input_ids": ids, "label": "a"}]).to_parquet(tmp_path / "corpus.parquet")
    export_run(GOLDEN / "tiny-vd", tmp_path / "corpus.parquet", tmp_path / "run", context=16)
    run = open_run(tmp_path / "run")
    assert run.manifest["settings"]["overlap"] == 2
    read = run.windows_of(0)
    assert [window.tolist() for window, _ in read] == [ids[:16], [1, *ids[14:29]], [1, *ids[27:]]]
    assert [rows.tolist()[:4] for _, rows in read] == [[-1, 0, 1, 2], [-1, -1, -1, 15], [-1, -1, -1, 28]]
    assert run.tokens()["token"].tolist() == ids[1:]
    assert read_windows(run, run.documents).predicted == 30

"""`monet attribute`, `monet attribute-corpus` and `monet analyze` with its options, as a person types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from typer.testing import CliRunner

from monet_model import MonetForCausalLM
from workbench import open_run
from workbench.analysis import (
    attribute,
    attribute_corpus,
    attribute_gradient,
    compare_with_ablation,
    read_analysis,
    read_writers,
)
from workbench.cli import app
from workbench.errors import UnsupportedError, WorkbenchError
from workbench.export import export_run
from workbench.store import Run

GOLDEN = Path(__file__).parents[2] / "golden" / "tiny-vd"
TEXT = "def add("


def invoke(*arguments: object) -> str:
    """Standard output of a command that succeeds."""
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def text_run(bare_run_path: Path, tmp_path: Path) -> Run:
    """A run of text, in a copy that a test may add to."""
    return open_run(shutil.copytree(bare_run_path, tmp_path / "run"))


def read(run: Run, text: str) -> tuple[MonetForCausalLM, torch.Tensor, Any]:
    """The run's model, a prompt's ids and the tokenizer."""
    tokenizer: Any = run.tokenizer()
    return (
        MonetForCausalLM.from_pretrained(run.model_path).eval(),
        torch.tensor([tokenizer(text)["input_ids"]]),
        tokenizer,
    )


def test_attribute_prints_a_token_and_a_difference(text_run: Run) -> None:
    model, ids, tokenizer = read(text_run, TEXT)
    a, b = (tokenizer(text, add_special_tokens=False)["input_ids"][0] for text in "ab")
    one = json.loads(invoke("attribute", text_run.model_path, "--text", TEXT, "--target", "a", "--json"))
    both = json.loads(
        invoke("attribute", text_run.model_path, "--text", TEXT, "--target", "a", "--minus", "b", "--json", "--top", 3)
    )
    expected = attribute(model, ids, (a, b))
    assert one["target"] == a
    assert (both["target"], both["target_text"]) == ([a, b], "a - b")
    assert both["logit"] == pytest.approx(expected.logit, abs=1e-6)
    assert [row["expert"] for row in both["experts"]] == expected.top(3)["expert"].tolist()
    assert max(one["completeness"], both["completeness"]) < 1e-4
    assert one["seconds"] > 0
    assert "gradient" not in one
    assert "ablation" not in one


def test_attribute_puts_the_text_into_the_chat_template(text_run: Run, tmp_path: Path) -> None:
    chat = Path(shutil.copytree(text_run.model_path, tmp_path / "chat"))
    model, ids, tokenizer = read(text_run, f"[{TEXT}]>")
    tokenizer.chat_template = "{{ bos_token }}[{{ messages[0]['content'] }}]{% if add_generation_prompt %}>{% endif %}"
    tokenizer.save_pretrained(chat)
    found = json.loads(invoke("attribute", chat, "--text", TEXT, "--chat", "--json"))
    expected = attribute(model, ids)
    assert found["target"] == expected.target
    assert found["logit"] == pytest.approx(expected.logit, abs=1e-5)
    assert found["logit"] != pytest.approx(json.loads(invoke("attribute", chat, "--text", TEXT, "--json"))["logit"])
    with pytest.raises(UnsupportedError, match="no chat template"):
        invoke("attribute", text_run.model_path, "--text", TEXT, "--chat")


def test_attribute_prints_gradient_and_ablation(text_run: Run) -> None:
    command = ("attribute", text_run.model_path, "--text", TEXT, "--target", "a", "--method", "gradient", "--ablate", 6)
    found = json.loads(invoke(*command, "--json", "--top", 4))
    model, ids, tokenizer = read(text_run, TEXT)
    target = tokenizer("a", add_special_tokens=False)["input_ids"][0]
    rows = attribute_gradient(model, ids, target)
    assert found["gradient"][0]["contribution"] == pytest.approx(
        rows.loc[rows["contribution"].abs().idxmax(), "contribution"]
    )
    assert len(found["gradient"]) == 4
    assert found["ablation"]["spearman"] == pytest.approx(compare_with_ablation(model, ids, target, 6).spearman)
    assert len(found["ablation"]["experts"]) == 6
    shown = invoke(*command)
    assert "Rank correlation with the ablation of 6 experts: direct" in shown
    assert "position" in shown


def test_attribute_corpus_prints_the_mean(text_run: Run) -> None:
    found = json.loads(invoke("attribute-corpus", text_run.path, "--target", "a", "--label", "python", "--json"))
    model, _, tokenizer = read(text_run, TEXT)
    target = tokenizer("a", add_special_tokens=False)["input_ids"][0]
    expected = attribute_corpus(text_run, model, target, label="python")
    assert (found["label"], found["occurrences"]) == ("python", expected.occurrences)
    assert found["experts"][0]["expert"] == int(expected.top(1)["expert"][0])
    assert found["experts"][0]["layer"] in text_run.layers_of(found["experts"][0]["group"])
    everywhere = attribute_corpus(text_run, model, target).occurrences
    shown = invoke("attribute-corpus", text_run.path, "--target", "a")
    assert f"mean of {everywhere:,} occurrences in all documents" in " ".join(shown.split())
    kept, of_label = read_writers(text_run, target), read_writers(text_run, target, "python")
    assert kept is not None
    assert of_label is not None
    assert (kept.target_text, kept.label, kept.occurrences) == ("a", None, everywhere)
    assert of_label.occurrences == expected.occurrences
    best = next(kept.experts.itertuples())
    assert f"{best.group}:{best.expert}" in shown
    assert of_label.experts["contribution"].tolist() == expected.top(len(expected.experts))["contribution"].tolist()
    assert of_label.total == pytest.approx(expected.total)
    assert read_writers(text_run, target, "c") is None


def test_attribute_corpus_says_where_it_cannot_keep_the_result(text_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("workbench.analysis.attribution.corpus_result.write_result", full)
    shown = CliRunner().invoke(app, ["attribute-corpus", str(text_run.path), "--target", "a"], catch_exceptions=False)
    assert shown.exit_code == 0
    assert "does not keep the result: no space" in shown.output


def test_attribute_corpus_says_which_sample_was_read_and_how_precise_it_is(text_run: Run) -> None:
    command = ("attribute-corpus", text_run.path, "--target", "a", "--sample", 2)
    model, _, tokenizer = read(text_run, TEXT)
    target = tokenizer("a", add_special_tokens=False)["input_ids"][0]
    expected = attribute_corpus(text_run, model, target, sample=2)
    assert expected.drawn is not None
    assert expected.logit_interval is not None
    found = json.loads(invoke(*command, "--json", "--top", 3))
    assert found["sample"] == expected.drawn.to_json()
    assert found["logit_interval"] == pytest.approx(expected.logit_interval)
    low = expected.top(3)["contribution_low"].tolist()
    assert [row["contribution_low"] for row in found["experts"]] == pytest.approx(low)
    shown = " ".join(invoke(*command, "--top", 3).split())
    assert f"Read: {expected.drawn}." in shown
    assert f"mean of {expected.occurrences:,} occurrences in a sample of all documents" in shown
    assert "(95 % CI {:+.4f} to {:+.4f})".format(*expected.logit_interval) in shown
    assert all(f"{value:+.4f} to" in shown for value in low)


def test_analyze_keeps_coherence_of_both_embeddings(text_run: Run) -> None:
    """The encoder's own package, end to end: a column for each view with its verdicts."""
    options = ("--permutations", 19, "--embeddings", "residual", "--embeddings", "encoder")
    assert json.loads(invoke("analyze", text_run.path, *options, "--json"))["permutations"] == 19
    table = read_analysis(text_run, 0)
    for name in ("coherence:residual", "coherence:encoder"):
        assert table[name].between(-1 - 1e-5, 1 + 1e-5).sum() > 100
        assert table[f"q:{name}"].dropna().between(0, 1).all()
    assert not np.allclose(table["coherence:residual"].dropna(), table["coherence:encoder"].dropna())
    invoke("analyze", text_run.path, "--permutations", 0)
    assert not any(column.startswith(("p:", "coherence")) for column in read_analysis(text_run, 0))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["attribute", "{model}", "--text", "x", "--minus", "a"], "name the target too"),
        (["attribute", "{model}", "--text", "x", "--target", "ab"], "'ab' is 2 tokens"),
        (["attribute", "{model}", "--text", ""], "the text is empty"),
        (["attribute", "{model}", "--text", "x", "--ablate", "1"], "at least 2 experts"),
        (["attribute-corpus", "{run}", "--target", "ab"], "'ab' is 2 tokens"),
        (["attribute-corpus", "{run}", "--target", "a", "--label", "perl"], "has no label 'perl'"),
    ],
)
def test_attribute_refuses_what_makes_no_sense(text_run: Run, arguments: list[str], said: str) -> None:
    places = {"model": text_run.model_path, "run": text_run.path}
    with pytest.raises(WorkbenchError, match=said):
        CliRunner().invoke(app, [argument.format(**places) for argument in arguments], catch_exceptions=False)


def test_attribute_corpus_needs_a_tokenizer(tmp_path: Path) -> None:
    rows = [{"input_ids": [1, *range(10, 40)], "label": label} for label in ("ada", "lisp")]
    Dataset.from_list(rows).to_parquet(tmp_path / "corpus.parquet")
    export_run(GOLDEN, tmp_path / "corpus.parquet", tmp_path / "run")
    with pytest.raises(UnsupportedError, match="has no tokenizer"):
        CliRunner().invoke(app, ["attribute-corpus", str(tmp_path / "run"), "--target", "a"], catch_exceptions=False)

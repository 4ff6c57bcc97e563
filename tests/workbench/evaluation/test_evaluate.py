"""`evaluate_model`: the harness' metrics, as one would compute them by hand, and under an edit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from monet_model import ExpertEdit, MonetForCausalLM
from workbench import open_run
from workbench.checkpoint import load_model
from workbench.errors import BadInputError, UnsupportedError
from workbench.evaluation import EvaluationResult, evaluate_model
from workbench.store import Run

pytestmark = pytest.mark.usefixtures("harness")
METRICS = ["acc", "acc_norm"]


@pytest.fixture(scope="module")
def run(bare_run_path: Path) -> Run:
    return open_run(bare_run_path)


@pytest.fixture(scope="module")
def model(run: Run) -> MonetForCausalLM:
    return load_model(run.model_path)


@pytest.fixture(scope="module")
def result(run: Run, model: MonetForCausalLM, toy_tasks: Path) -> EvaluationResult:
    """The three tasks and their groups."""
    return evaluate_model(model, run.tokenizer(), ["toy_domains"], include=toy_tasks)


def by_hand(model: MonetForCausalLM, run: Run, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """For every document, whether the likeliest choice is right: acc, and acc_norm, which divides by characters."""
    right: dict[str, list[bool]] = {"acc": [], "acc_norm": []}
    tokenizer = run.tokenizer()
    for row in rows:
        start = len(tokenizer(row["question"])["input_ids"])
        likelihoods = []
        for choice in row["choices"]:
            ids = torch.tensor([tokenizer(f"{row['question']} {choice}")["input_ids"]])
            with torch.no_grad():
                logits = model(ids).logits[0, start - 1 : -1]
            likelihoods.append(-float(cross_entropy(logits, ids[0, start:], reduction="sum")))
        right["acc"].append(int(np.argmax(likelihoods)) == row["answer"])
        lengths = [len(choice) for choice in row["choices"]]
        right["acc_norm"].append(int(np.argmax(np.array(likelihoods) / lengths)) == row["answer"])
    return {metric: np.array(values) for metric, values in right.items()}


def test_accuracies_and_errors_are_those_computed_by_hand(
    run: Run, model: MonetForCausalLM, result: EvaluationResult, documents: dict[str, list[dict[str, Any]]]
) -> None:
    table = result.table.set_index(["task", "metric"])
    seen = set()
    for label, rows in documents.items():
        for metric, right in by_hand(model, run, rows).items():
            row = table.loc[(f"toy_{label}", metric)]
            assert row["value"] == pytest.approx(right.mean())
            assert row["stderr"] == pytest.approx(right.std(ddof=1) / np.sqrt(len(right)))
            assert row["documents"] == len(right) == 8
            assert row["filter"] == "none"
            assert row["higher_is_better"] is True
            seen.add(row["value"])
    assert len(seen) > 1  # the tasks differ, so that one in place of another would be seen
    every = table.loc[[f"toy_{label}" for label in documents]].xs("acc", level="metric")
    assert table.loc[("toy_domains", "acc"), ["value", "documents"]].tolist() == [every["value"].mean(), 24]


def test_the_document_keeps_the_harness_names(result: EvaluationResult) -> None:
    found = json.loads(json.dumps(result.to_json(), allow_nan=False))
    value = result.table.set_index(["task", "metric"]).loc[("toy_lua", "acc"), "value"]
    assert found["results"]["toy_lua"]["acc,none"] == value
    assert found["results"]["toy_lua"]["acc_stderr,none"] > 0
    assert found["versions"]["toy_lua"] == 2.0
    assert found["n-samples"]["toy_lua"] == {"original": 8, "effective": 8}
    assert found["n-shot"]["toy_lua"] == 0
    assert found["settings"] | {"lm_eval_version": ""} == {
        "tasks": ["toy_domains"],
        "limit": None,
        "num_fewshot": None,
        "batch_size": 1,
        "seed": 1234,
        "edited_experts": 0,
        "lm_eval_version": "",
    }


def test_a_limit_takes_the_first_documents(
    run: Run, model: MonetForCausalLM, toy_tasks: Path, documents: dict[str, list[dict[str, Any]]]
) -> None:
    found = evaluate_model(model, run.tokenizer(), ["toy_html"], include=toy_tasks, limit=7, batch_size=4).table
    right = by_hand(model, run, documents["html"][:7])
    assert found.set_index("metric")["value"].to_dict() == pytest.approx({m: right[m].mean() for m in METRICS})
    assert found["documents"].tolist() == [7, 7]
    one = evaluate_model(model, run.tokenizer(), ["toy_html"], include=toy_tasks, limit=1)
    assert one.table["stderr"].isna().all()
    assert one.to_json()["table"][0]["stderr"] is None


def test_few_shot_examples_change_the_prompts(
    run: Run, model: MonetForCausalLM, toy_tasks: Path, result: EvaluationResult
) -> None:
    found = evaluate_model(model, run.tokenizer(), ["toy_domains"], include=toy_tasks, num_fewshot=2)
    assert found.harness["n-shot"]["toy_lua"] == 2
    assert found.table["value"].tolist() != result.table["value"].tolist()


def test_an_edit_is_in_force_and_gone_afterwards(
    run: Run,
    model: MonetForCausalLM,
    toy_tasks: Path,
    result: EvaluationResult,
    documents: dict[str, list[dict[str, Any]]],
) -> None:
    edit = ExpertEdit.from_experts(model, {0: list(range(256)), 2: list(range(256))})
    found = evaluate_model(model, run.tokenizer(), ["toy_domains"], edit=edit, include=toy_tasks)
    with model.edit_experts(edit):
        expected = {label: by_hand(model, run, rows)["acc"].mean() for label, rows in documents.items()}
    table = found.table[found.table["metric"] == "acc"].set_index("task")["value"]
    assert {label: table[f"toy_{label}"] for label in documents} == pytest.approx(expected)
    assert found.table["value"].tolist() != result.table["value"].tolist()
    assert found.settings["edited_experts"] == 512
    again = evaluate_model(model, run.tokenizer(), ["toy_domains"], include=toy_tasks)
    assert again.table.equals(result.table)


def test_what_cannot_be_evaluated_is_refused_before_anything_runs(
    run: Run, model: MonetForCausalLM, toy_tasks: Path
) -> None:
    edit = ExpertEdit.from_experts(model, {0: [1]})
    other = ExpertEdit(edit.experts, edit.factors, edit.keys, "another model")
    with pytest.raises(UnsupportedError, match="this edit belongs to the model"):
        evaluate_model(model, run.tokenizer(), ["toy_lua"], edit=other, include=toy_tasks)
    with pytest.raises(BadInputError, match="limit must be at least 1 document, got 0"):
        evaluate_model(model, run.tokenizer(), ["toy_lua"], limit=0, include=toy_tasks)
    training = load_model(run.model_path).train()
    with pytest.raises(BadInputError, match="training mode"):
        evaluate_model(training, run.tokenizer(), ["toy_lua"], include=toy_tasks)


def test_a_task_that_the_model_s_context_cannot_hold_is_refused(
    run: Run, model: MonetForCausalLM, toy_tasks: Path, tmp_path: Path
) -> None:
    text = (toy_tasks / "toy_lua.yaml").read_text().partition("metric_list:")[0]
    text = text.replace("output_type: multiple_choice", "output_type: generate_until").replace("toy_lua", "toy_long")
    text += "generation_kwargs:\n  max_gen_toks: 100000\nmetric_list:\n  - metric: exact_match\n"
    (tmp_path / "long.yaml").write_text(text)
    with pytest.raises(BadInputError, match="the harness cannot evaluate toy_long: .* max tokens to generate"):
        evaluate_model(model, run.tokenizer(), ["toy_long"], include=tmp_path, limit=1)

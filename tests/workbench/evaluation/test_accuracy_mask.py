"""`mask_accuracy`: accuracy by domain with each label's experts ablated, and the recipe of the paper's Table 11."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from monet_model import MonetForCausalLM
from workbench import open_run
from workbench.analysis import label_edit, mask_labels
from workbench.checkpoint import load_model
from workbench.errors import BadInputError, NotFoundError
from workbench.evaluation import AccuracyMask, evaluate_model, mask_accuracy, read_accuracy_mask
from workbench.evaluation.harness import RECIPES
from workbench.store import Run

RATIO = 1.2  # at which every label of the small run has specialised experts


@pytest.fixture(scope="module")
def run(bare_run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that results may be kept in."""
    return open_run(shutil.copytree(bare_run_path, tmp_path_factory.mktemp("masked") / "run"))


@pytest.fixture(scope="module")
def model(run: Run) -> MonetForCausalLM:
    return load_model(run.model_path)


@pytest.fixture(scope="module")
def result(harness: None, run: Run, model: MonetForCausalLM, toy_tasks: Path) -> AccuracyMask:
    """All labels ablated, measured on the three tasks with few-shot examples."""
    return mask_accuracy(
        run,
        model,
        run.tokenizer(),
        ["toy_domains"],
        ratio=RATIO,
        min_tokens=1,
        include=toy_tasks,
        num_fewshot=1,
        batch_size=8,
    )


def small_result() -> AccuracyMask:
    """Two labels by three domains, one of which no label names."""
    return AccuracyMask(
        labels=["Computer Science", "law"],
        domains=["law", "computer_science", "rest"],
        tasks=["t_law", "t_cs", "t_rest"],
        baseline=np.array([0.5, 0.75, 0.25]),
        baseline_stderr=np.array([0.1, 0.1, 0.1]),
        accuracy=np.array([[0.5, 0.25, 0.25], [0.25, 0.75, 0.5]]),
        stderr=np.full((2, 3), 0.1),
        documents=[4, 4, 4],
        removed_by_group=[[3, 1], [2, 0]],
        ratio=2.0,
        min_tokens=10,
        seed=0,
        confirmed=False,
        limit=None,
        num_fewshot=5,
        lm_eval_version="0",
    )


def test_rows_are_what_the_edited_model_scores(
    run: Run, model: MonetForCausalLM, result: AccuracyMask, toy_tasks: Path
) -> None:
    rows = {"none": None} | {label: label_edit(run, model, label, ratio=RATIO, min_tokens=1) for label in run.labels}
    table = result.table()
    assert table.index.tolist() == list(rows)
    assert table.columns.tolist() == ["python", "lua", "html"]
    for name, edit in rows.items():
        scores = evaluate_model(
            model, run.tokenizer(), ["toy_domains"], edit=edit, include=toy_tasks, num_fewshot=1, batch_size=8
        ).table
        scores = scores[scores["metric"] == "acc"].set_index("task").loc[result.tasks]
        assert table.loc[name].tolist() == scores["value"].tolist()
        if edit is not None:
            assert result.stderr[result.labels.index(name)].tolist() == scores["stderr"].tolist()
            assert result.removed[result.labels.index(name)] == len(edit) > 0
        else:
            assert result.baseline_stderr.tolist() == scores["stderr"].tolist()
            assert result.documents == scores["documents"].tolist() == [8, 8, 8]
    assert np.abs(result.matrix).max() > 0  # ablation changed an answer


def test_the_experts_are_those_that_the_loss_is_measured_without(
    run: Run, model: MonetForCausalLM, result: AccuracyMask
) -> None:
    losses = mask_labels(run, model, ratio=RATIO, min_tokens=1, name="loss")
    assert result.labels == losses.rows
    assert result.removed_by_group == losses.removed_by_group


def test_it_is_kept_in_the_run_as_it_is(run: Run, result: AccuracyMask) -> None:
    kept = read_accuracy_mask(run)
    assert kept is not None
    for field in dataclasses.fields(AccuracyMask):
        assert np.array_equal(getattr(kept, field.name), getattr(result, field.name)), field.name


def test_one_label_is_kept_only_under_a_name(
    run: Run, model: MonetForCausalLM, result: AccuracyMask, toy_tasks: Path
) -> None:
    settings = {"ratio": RATIO, "min_tokens": 1, "include": toy_tasks, "limit": 2}
    mask_accuracy(run, model, run.tokenizer(), ["toy_lua"], labels=["lua"], **settings)
    kept = read_accuracy_mask(run)
    assert kept is not None
    assert kept.labels == result.labels
    mask_accuracy(run, model, run.tokenizer(), ["toy_lua"], labels=["lua"], name="one", **settings)
    one = read_accuracy_mask(run, "one")
    assert one is not None
    assert (one.labels, one.domains, one.limit) == (["lua"], ["lua"], 2)


def test_targets_are_domains_of_the_label_s_name() -> None:
    result = small_result()
    assert result.own.tolist() == [[False, True, False], [True, False, False]]
    assert result.delta_target == pytest.approx((-0.5 - 0.25) / 2)
    assert result.delta_others == pytest.approx((0 + 0 + 0 + 0.25) / 4)
    assert result.removed == [4, 2]
    found = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert found["matrix"] == [[0, -0.5, 0], [-0.25, 0, 0.25]]


def test_a_label_that_no_domain_names_is_in_no_mean() -> None:
    assert dataclasses.replace(small_result(), labels=["law", "poetry"]).delta_others == pytest.approx(-0.25)
    none = dataclasses.replace(small_result(), labels=["prose", "poetry"])
    assert np.isnan([none.delta_target, none.delta_others]).all()
    assert none.to_json()["delta_target"] is None


@pytest.mark.usefixtures("harness")
def test_a_member_without_accuracy_is_named(run: Run, model: MonetForCausalLM, toy_tasks: Path, tmp_path: Path) -> None:
    text = (toy_tasks / "toy_lua.yaml").read_text().replace("toy_lua", "toy_text").partition("metric_list:")[0]
    text = text.replace("output_type: multiple_choice", "output_type: loglikelihood_rolling")
    text = text.replace('doc_to_text: "{{question}}"', 'doc_to_text: ""').replace("doc_to_target: answer", "")
    text = text.replace("doc_to_choice: choices", 'doc_to_target: "{{question}}"')
    (tmp_path / "text.yaml").write_text(text + "metric_list:\n  - metric: word_perplexity\n")
    with pytest.raises(BadInputError, match=r"toy_text has no accuracy \(acc\), but word_perplexity"):
        mask_accuracy(run, model, run.tokenizer(), ["toy_text"], labels=["lua"], include=tmp_path, limit=1)


@pytest.mark.usefixtures("harness")
def test_what_is_unknown_is_named_before_anything_runs(run: Run, model: MonetForCausalLM, toy_tasks: Path) -> None:
    with pytest.raises(NotFoundError, match="cobol"):
        mask_accuracy(run, model, run.tokenizer(), ["toy_lua"], labels=["cobol"], include=toy_tasks)
    with pytest.raises(BadInputError, match="ratio"):
        mask_accuracy(run, model, run.tokenizer(), ["toy_lua"], ratio=0.5, include=toy_tasks)


def subjects() -> dict[str, list[str]]:
    """The recipe's tasks by domain."""
    recipe = yaml.safe_load((RECIPES / "mmlu_domains.yaml").read_text())
    return {group["group_alias"]: group["task"] for group in recipe["task"]}


@pytest.mark.usefixtures("harness")
def test_the_recipe_sorts_every_subject_of_mmlu_into_one_of_14_domains() -> None:
    import lm_eval

    default = Path(lm_eval.__file__).parent / "tasks" / "mmlu" / "default"
    tasks = sorted(path.stem for path in default.glob("mmlu_*.yaml"))
    assert len(tasks) == 57
    assert sorted(task for domain in subjects().values() for task in domain) == tasks
    assert sorted(subjects()) == [
        "biology", "business", "chemistry", "computer science", "economics", "engineering", "health", "history", "law",
        "math", "other", "philosophy", "physics", "psychology",
    ]  # fmt: skip


@pytest.mark.usefixtures("harness")
def test_the_recipe_makes_a_table_of_14_domains(
    run: Run, model: MonetForCausalLM, toy_tasks: Path, tmp_path: Path
) -> None:
    """End to end, with small data under the names of MMLU's subjects."""
    shutil.copy(RECIPES / "mmlu_domains.yaml", tmp_path)
    text = (toy_tasks / "toy_lua.yaml").read_text().replace("task_alias: lua\n", "")
    for task in (task for domain in subjects().values() for task in domain):
        (tmp_path / f"{task}.yaml").write_text(text.replace("toy_lua", task))
    result = mask_accuracy(
        run, model, run.tokenizer(), ["mmlu_domains"], ratio=RATIO, min_tokens=1, include=tmp_path, limit=1, name="mmlu"
    )
    assert result.domains == list(subjects())
    assert result.documents == [len(tasks) for tasks in subjects().values()]
    assert result.table().shape == (1 + len(run.labels), 14)

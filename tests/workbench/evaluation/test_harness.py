"""The harness on a model in memory: its log-likelihoods are our losses, and what cannot be evaluated is named."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from monet_model import MonetForCausalLM
from workbench import open_run
from workbench.checkpoint import load_model
from workbench.errors import BadInputError, NotFoundError, UnsupportedError
from workbench.evaluation.harness import RECIPES, harness_model, load_tasks
from workbench.store import Run

pytestmark = pytest.mark.usefixtures("harness")
TEXTS = [
    ("def add(a, b):", " return a + b\n"),
    ("<p>Hello,", " <b>world</b></p>"),
    (
        "local x = 1\nfor i = 1, 10 do",
        "\n  print(i)",
    ),  # the harness counts blanks at the end of a context to what follows
    ("x", "y"),
]


@pytest.fixture(scope="module")
def run(bare_run_path: Path) -> Run:
    return open_run(bare_run_path)


@pytest.fixture(scope="module")
def model(run: Run) -> MonetForCausalLM:
    return load_model(run.model_path)


def loss(model: MonetForCausalLM, run: Run, context: str, continuation: str) -> float:
    """Summed cross entropy of a continuation's tokens, nats, from a forward pass of our own."""
    tokenizer = run.tokenizer()
    whole = torch.tensor([tokenizer(context + continuation)["input_ids"]])
    first = len(tokenizer(context)["input_ids"])
    with torch.no_grad():
        logits = model(whole).logits[0, first - 1 : -1]
    return float(cross_entropy(logits, whole[0, first:], reduction="sum"))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_loglikelihoods_are_our_losses(run: Run, model: MonetForCausalLM, batch_size: int) -> None:
    from lm_eval.api.instance import Instance

    lm = harness_model(model, run.tokenizer(), batch_size)
    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(TEXTS)]
    found = [likelihood for likelihood, _ in lm.loglikelihood(requests)]
    expected = [-loss(model, run, *pair) for pair in TEXTS]
    assert found == pytest.approx(expected, rel=1e-5)


def test_the_loglikelihood_of_a_text_is_the_model_s_own_loss(run: Run, model: MonetForCausalLM) -> None:
    from lm_eval.api.instance import Instance

    lm = harness_model(model, run.tokenizer(), 1)
    for text in ("".join(pair) for pair in TEXTS):
        ids = torch.tensor([run.tokenizer()(text)["input_ids"]])
        with torch.no_grad():
            mean = float(model(ids, labels=ids).loss)
        ((found, _),) = lm.loglikelihood([Instance("loglikelihood", {}, ("", text), 0)])
        assert found == pytest.approx(-mean * (ids.shape[1] - 1), rel=1e-5)


def test_the_caller_s_tokenizer_is_left_alone(run: Run, model: MonetForCausalLM) -> None:
    tokenizer = run.tokenizer()
    tokenizer.pad_token = None
    harness_model(model, tokenizer, 1)
    assert tokenizer.pad_token is None


def test_groups_are_measured_by_their_members(toy_tasks: Path) -> None:
    assert load_tasks(["toy_domains"], include=toy_tasks).members == ["toy_python", "toy_lua", "toy_domains::markup"]
    assert load_tasks(["toy_lua", "toy_lua", "toy_html"], include=toy_tasks).members == ["toy_lua", "toy_html"]


def test_few_shot_examples_are_the_same_every_time(run: Run, model: MonetForCausalLM, toy_tasks: Path) -> None:
    loaded = load_tasks(["toy_lua"], include=toy_tasks, num_fewshot=3)
    prompts = []
    for _ in range(2):
        loaded.run(harness_model(model, run.tokenizer(), 1), 4, lambda units=1, note="": None)
        prompts.append([instance.args[0] for instance in loaded.loaded["tasks"]["toy_lua"].instances])
    assert prompts[0] == prompts[1]
    assert "\n\n" in prompts[0][0]  # there are examples before the question


def test_requests_are_counted_before_and_while_they_are_answered(
    run: Run, model: MonetForCausalLM, toy_tasks: Path
) -> None:
    loaded = load_tasks(["toy_domains"], include=toy_tasks)
    answered: list[float] = []
    loaded.run(harness_model(model, run.tokenizer(), 4), 5, lambda units=1, note="": answered.append(units))
    assert sum(answered) == loaded.requests(5) == 3 * 5 * 4


def test_the_caller_s_random_state_is_left_alone(run: Run, model: MonetForCausalLM, toy_tasks: Path) -> None:
    def draws() -> list[float]:
        return [random.random(), float(np.random.rand()), float(torch.rand(1))]

    loaded = load_tasks(["toy_lua"], include=toy_tasks)
    lm = harness_model(model, run.tokenizer(), 1)
    drawn = []
    for evaluates in (False, True):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        if evaluates:
            loaded.run(lm, 2, lambda units=1, note="": None)
        drawn.append(draws())
    assert drawn[0] == drawn[1]


def test_an_unknown_task_is_answered_with_names_like_it(toy_tasks: Path) -> None:
    with pytest.raises(NotFoundError, match="no task 'hellaswagg'; names like it: hellaswag"):
        load_tasks(["toy_lua", "hellaswagg"], include=toy_tasks)


def test_data_that_are_not_here_are_named(toy_tasks: Path) -> None:
    with pytest.raises(NotFoundError, match=r"the data of the task toy_gone are neither .*gone\.jsonl"):
        load_tasks(["toy_gone"], include=toy_tasks)


def test_data_on_a_hub_that_cannot_be_reached_are_named(toy_tasks: Path, tmp_path: Path) -> None:
    text = (toy_tasks / "toy_gone.yaml").read_text()
    far = text.replace("dataset_path: json", "dataset_path: no-such-owner/no-such-data").replace("toy_gone", "toy_far")
    (tmp_path / "far.yaml").write_text("\n".join(line for line in far.splitlines() if "data_files" not in line))
    with pytest.raises(NotFoundError, match="the data of the task toy_far are neither on this machine nor"):
        load_tasks(["toy_far"], include=tmp_path)


def test_a_task_that_executes_code_is_refused(toy_tasks: Path) -> None:
    with pytest.raises(UnsupportedError, match="toy_unsafe executes what the model writes.*monet evaluate-code"):
        load_tasks(["toy_unsafe"], include=toy_tasks)


def test_settings_out_of_range_are_refused(run: Run, model: MonetForCausalLM, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no task was named"):
        load_tasks([])
    with pytest.raises(BadInputError, match="few-shot examples must be at least 0, got -1"):
        load_tasks(["toy_lua"], num_fewshot=-1)
    with pytest.raises(NotFoundError, match="no folder .*none with tasks"):
        load_tasks(["toy_lua"], include=tmp_path / "none")
    with pytest.raises(BadInputError, match="batch size must be at least 1, got 0"):
        harness_model(model, run.tokenizer(), 0)


def test_a_group_of_the_harness_own_tasks_is_not_taken_for_complete(tmp_path: Path) -> None:
    """It is found in the folder, and what it is made of is not."""
    from lm_eval.tasks import TaskManager

    from workbench.evaluation.harness import _complete

    shutil.copy(RECIPES / "mmlu_domains.yaml", tmp_path)
    index = TaskManager(include_path=str(tmp_path), include_defaults=False).task_index
    assert "mmlu_domains" in index
    assert not _complete(["mmlu_domains"], index)

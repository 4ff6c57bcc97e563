"""pass@k of programs that a model writes: sampled with a seed, run with limits, and only where that is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from monet_model import ExpertEdit, MonetForCausalLM
from workbench import open_run
from workbench.checkpoint import load_model
from workbench.errors import BadInputError, UnsupportedError
from workbench.evaluation import CodeResult, Problem, evaluate_code, generated_code, pass_at_k
from workbench.store import Run

RIGHT, WRONG = " + b", " - b"
ADD = Problem("add", "python", "def add(a, b): return a", "assert add(1, 2) == 3", ("\n",))


@pytest.fixture(scope="module")
def run(bare_run_path: Path) -> Run:
    return open_run(bare_run_path)


@pytest.fixture(scope="module")
def model(run: Run) -> MonetForCausalLM:
    return load_model(run.model_path)


def written(run: Run, model: MonetForCausalLM, **options: Any) -> CodeResult:
    """What a small model writes; none of it is right."""
    settings: dict[str, Any] = {"samples": 3, "k": [1], "max_new_tokens": 8} | options
    return evaluate_code(model, run.tokenizer(), [ADD], execute=True, **settings)


def test_nothing_is_executed_unless_that_is_allowed(
    run: Run, model: MonetForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generated_code, "run_limited", lambda *_: pytest.fail("it ran a program"))
    with pytest.raises(BadInputError, match="executes on this machine what the model writes.*--execute-generated-code"):
        evaluate_code(model, run.tokenizer(), [ADD])


def test_pass_at_k_counts_the_completions_that_pass(
    run: Run, model: MonetForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"add": [RIGHT, WRONG, WRONG, RIGHT], "more": [WRONG, WRONG, WRONG, RIGHT]}
    monkeypatch.setattr(generated_code, "_complete", lambda model, tokenizer, problem, *_: texts[problem.name])
    problems = [ADD, Problem("more", "python", ADD.prompt, ADD.tests)]
    found = evaluate_code(model, run.tokenizer(), problems, execute=True, samples=4, k=[1, 2])
    assert found.problems["passed"].tolist() == [2, 1]
    assert found.problems["pass@2"].tolist() == [pass_at_k(4, 2, 2), pass_at_k(4, 1, 2)]
    assert found.completions["outcome"].tolist()[:4] == ["passed", "failed", "failed", "passed"]
    table = found.table.set_index("metric")
    assert table.loc["pass@1", "value"] == pytest.approx((2 / 4 + 1 / 4) / 2)
    assert table.loc["pass@1", "stderr"] == pytest.approx(0.125)  # sample deviation over the root of two problems
    assert table.loc["pass@1", ["task", "documents"]].tolist() == ["python", 2]
    assert found.to_json()["completions"][0]["text"] == RIGHT


def test_completions_are_samples_of_the_seed_and_end_at_a_stop(run: Run, model: MonetForCausalLM) -> None:
    first, again, other = (written(run, model, seed=seed, temperature=2.0).completions["text"] for seed in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()
    assert first.nunique() > 1
    assert not first.str.contains("\n").any()


def test_the_caller_s_random_state_is_left_alone(run: Run, model: MonetForCausalLM) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    written(run, model)
    assert torch.equal(torch.rand(1), expected)


def test_an_edit_is_in_force_while_the_model_writes(run: Run, model: MonetForCausalLM) -> None:
    edit = ExpertEdit.from_experts(model, {0: list(range(256)), 2: list(range(256))})
    plain, edited, nothing = (
        written(run, model, edit=chosen) for chosen in (None, edit, ExpertEdit.from_experts(model, {0: [1]}, 1.0))
    )
    assert plain.completions["text"].tolist() == nothing.completions["text"].tolist()
    assert plain.completions["text"].tolist() != edited.completions["text"].tolist()
    assert edited.settings["edited_experts"] == 512
    with pytest.raises(UnsupportedError, match="belongs to the model"):
        written(run, model, edit=ExpertEdit(edit.experts, edit.factors, edit.keys, "another"))


def test_settings_out_of_range_are_refused(run: Run, model: MonetForCausalLM) -> None:
    for options, message in (
        ({"k": [4]}, "from 1 to the 3 samples"),
        ({"k": []}, "from 1 to the 3 samples"),
        ({"temperature": 0.0}, "temperature must be a number above 0"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"max_new_tokens": 0}, "new tokens must be at least 1"),
    ):
        with pytest.raises(BadInputError, match=message):
            written(run, model, **options)


def test_a_prompt_that_fills_the_context_is_named(run: Run, model: MonetForCausalLM) -> None:
    long = Problem("long", "python", "x" * model.config.max_position_embeddings, "")
    with pytest.raises(BadInputError, match="the prompt of 'long' has .* leave the problem out"):
        evaluate_code(model, run.tokenizer(), [long], execute=True, samples=1, k=[1])

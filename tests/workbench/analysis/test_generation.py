"""Generated text: greedy as transformers writes it, draws that follow seed, temperature and top_p, and its bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from monet_model import ExpertEdit, MonetForCausalLM
from workbench import open_run
from workbench.analysis import Prompt, generate_text, read_prompt
from workbench.analysis.generation import ALTERNATIVES, _choose
from workbench.errors import BadInputError, UnsupportedError

TEXT = "def add("


@pytest.fixture(scope="module")
def model(bare_run_path: Path) -> MonetForCausalLM:
    return MonetForCausalLM.from_pretrained(open_run(bare_run_path).model_path).eval()


@pytest.fixture(scope="module")
def prompt(bare_run_path: Path) -> Prompt:
    tokenizer = open_run(bare_run_path).tokenizer()
    assert tokenizer is not None
    return Prompt.tokenise(tokenizer, TEXT, 64)


@pytest.fixture(scope="module")
def edit(model: MonetForCausalLM) -> ExpertEdit:
    return ExpertEdit.from_experts(model, {0: list(range(128))})


def _transformers(model: MonetForCausalLM, prompt: Prompt, edit: Any, length: int) -> list[int]:
    ids = torch.tensor([prompt.ids])
    with model.edit_experts(edit), torch.inference_mode():
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=length, do_sample=False, pad_token_id=2
        )
    return list(out[0, ids.shape[1] :].tolist())


def test_greedy_is_what_transformers_generates(model: MonetForCausalLM, prompt: Prompt, edit: ExpertEdit) -> None:
    plain, edited = _transformers(model, prompt, {}, 30), _transformers(model, prompt, edit, 30)
    assert generate_text(model, prompt, max_new_tokens=30).tokens == plain
    assert generate_text(model, prompt, edit=edit, max_new_tokens=30).tokens == edited != plain


def test_probabilities_are_those_of_reading_the_whole_text(
    model: MonetForCausalLM, prompt: Prompt, edit: ExpertEdit
) -> None:
    written = generate_text(model, prompt, edit=edit, max_new_tokens=6, temperature=1.0, seed=3)
    ids = torch.tensor([prompt.ids + written.tokens])
    with model.edit_experts(edit), torch.no_grad():
        whole = model(ids).logits[0, len(prompt.ids) - 1 : -1].softmax(-1)
    expected = whole[torch.arange(6), torch.tensor(written.tokens)]
    torch.testing.assert_close(torch.tensor(written.probability), expected, rtol=1e-4, atol=1e-6)
    top = whole.topk(ALTERNATIVES)
    assert written.alternatives["token"].tolist() == top.indices.flatten().tolist()
    assert written.alternatives["position"].tolist() == [at for at in range(6) for _ in range(ALTERNATIVES)]
    assert written.text == "".join(prompt.token_text(token) for token in written.tokens)


def test_the_seed_decides_the_text(model: MonetForCausalLM, prompt: Prompt) -> None:
    first, again, other = (
        generate_text(model, prompt, max_new_tokens=20, temperature=1.0, seed=seed).tokens for seed in (1, 1, 2)
    )
    assert first == again != other


def test_top_p_draws_from_the_likeliest_alone(model: MonetForCausalLM, prompt: Prompt) -> None:
    greedy = generate_text(model, prompt, max_new_tokens=10).tokens
    assert generate_text(model, prompt, max_new_tokens=10, temperature=1.0, top_p=1e-9).tokens == greedy
    assert generate_text(model, prompt, max_new_tokens=10, temperature=1e-9).tokens == greedy


def test_draws_follow_the_probabilities_that_top_p_leaves() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    draws = torch.Generator().manual_seed(0)
    for temperature, top_p, expected in ((1.0, 1.0, [0.5, 0.3, 0.15, 0.05]), (1.0, 0.6, [0.625, 0.375, 0, 0])):
        drawn = torch.tensor([_choose(logits, temperature, top_p, draws) for _ in range(4000)])
        share = drawn.bincount(minlength=4) / 4000
        torch.testing.assert_close(share, torch.tensor(expected), rtol=0, atol=0.03)


def test_it_stops_when_told_and_counts_what_it_wrote(model: MonetForCausalLM, prompt: Prompt) -> None:
    done: list[float] = []
    written = generate_text(
        model,
        prompt,
        max_new_tokens=20,
        progress=lambda units=1, note="": done.append(units),
        stopped=lambda: len(done) == 3,
    )
    assert (len(written.tokens), written.ended, sum(done)) == (3, "stopped", 3)


def test_it_ends_with_the_context_or_the_end_of_the_text(
    model: MonetForCausalLM, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = generate_text(model, prompt, max_new_tokens=1000)
    assert len(prompt.ids) + len(full.tokens) <= 64
    second = generate_text(model, prompt, max_new_tokens=5).tokens[1]
    monkeypatch.setattr(model.generation_config, "eos_token_id", [second])
    ended = generate_text(model, prompt, max_new_tokens=20)
    assert ended.ended == "end of text"
    assert ended.tokens[-1] == second
    assert ended.tokens == _transformers(model, prompt, {}, 20)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_new_tokens": 0}, "at least 1"),
        ({"temperature": -1.0}, "temperature must be"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"top_p": 0.0}, "top_p must be"),
        ({"top_p": 1.1}, "top_p must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_settings_out_of_range_are_refused(
    model: MonetForCausalLM, prompt: Prompt, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        generate_text(model, prompt, **settings)


def test_a_prompt_that_fills_the_context_is_refused(model: MonetForCausalLM, prompt: Prompt) -> None:
    with pytest.raises(BadInputError, match="64 tokens fill the model's context"):
        generate_text(model, Prompt.tokenise(prompt.tokenizer, "x" * 63, 64))


def test_an_edit_of_another_model_is_refused(model: MonetForCausalLM, prompt: Prompt, edit: ExpertEdit) -> None:
    other = ExpertEdit(edit.experts, edit.factors, edit.keys, "another")
    with pytest.raises(UnsupportedError, match="belongs to the model"):
        generate_text(model, prompt, edit=other)


def test_an_edit_leaves_the_model_as_it_was(model: MonetForCausalLM, prompt: Prompt, edit: ExpertEdit) -> None:
    before = read_prompt(model, prompt).forward.logits
    generate_text(model, prompt, edit=edit, max_new_tokens=2)
    assert torch.equal(before, read_prompt(model, prompt).forward.logits)

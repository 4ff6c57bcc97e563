"""Prompts: tokenised once, read in one forward pass, and what is read off it equals the model's own outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from monet_model import MonetForCausalLM
from workbench import open_run
from workbench.analysis import Prompt, attribute, attribute_gradient, compare_with_ablation, read_prompt
from workbench.analysis.attribution.prompt import read_token
from workbench.analysis.attribution.text import attribute_text
from workbench.errors import BadInputError, UnsupportedError, WorkbenchError
from workbench.store import Run

TEXT = "def add("


@pytest.fixture(scope="module")
def text_run(bare_run_path: Path) -> Run:
    return open_run(bare_run_path)


@pytest.fixture
def model(text_run: Run) -> MonetForCausalLM:
    return MonetForCausalLM.from_pretrained(text_run.model_path).eval()


@pytest.fixture
def prompt(text_run: Run) -> Prompt:
    tokenizer = text_run.tokenizer()
    assert tokenizer is not None
    return Prompt.tokenise(tokenizer, TEXT, 64)


def test_prompt_holds_the_text_and_its_start_of_text_token(prompt: Prompt) -> None:
    assert prompt.bos
    assert prompt.pieces == ["<s>", *TEXT]
    assert "".join(prompt.shown) == TEXT
    assert prompt.token_text(prompt.ids[1]) == "d"
    assert prompt.token_text(127) == "#127"  # of the model's vocabulary alone


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text is empty"),
        ("x" * 64, "the prompt has 65 tokens; the model reads at most 64"),
        ("ab\ud800", "character 3 is half of a pair"),
    ],
    ids=["empty", "long", "surrogate"],
)
def test_prompt_that_the_model_cannot_read_is_refused(text_run: Run, text: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        Prompt.tokenise(text_run.tokenizer(), text, 64)  # type: ignore[arg-type]


CHAT = (
    "{{ bos_token }}[{% for m in messages %}{{ m['role'][0] }}:{{ m['content'] }}{% endfor %}]"
    "{% if add_generation_prompt %}>{% endif %}"
)


def test_a_chat_stands_in_the_tokenizers_template(text_run: Run) -> None:
    tokenizer = text_run.tokenizer()
    assert tokenizer is not None
    with pytest.raises(UnsupportedError, match="no chat template"):
        Prompt.tokenise(tokenizer, TEXT, 64, chat=True)
    tokenizer.chat_template = CHAT
    chat = Prompt.tokenise(tokenizer, TEXT, 64, chat=True)
    assert chat.pieces == ["<s>", *f"[u:{TEXT}]>"]
    assert (chat.text, chat.bos, chat.chat) == (TEXT, True, True)
    assert chat.until(3).chat
    assert not Prompt.tokenise(tokenizer, TEXT, 64).chat
    with pytest.raises(BadInputError, match="the model reads at most 8"):
        Prompt.tokenise(tokenizer, TEXT, 8, chat=True)
    tokenizer.chat_template = "{{ raise_exception('no such role') }}"
    with pytest.raises(BadInputError, match="refuses this text: no such role"):
        Prompt.tokenise(tokenizer, TEXT, 64, chat=True)


def test_prompt_may_fill_the_context(text_run: Run, model: MonetForCausalLM) -> None:
    full = Prompt.tokenise(text_run.tokenizer(), "x" * 63, 64)  # type: ignore[arg-type]
    assert len(read_prompt(model, full).prompt.ids) == 64


def test_prompt_reading_attributes_any_target_as_attribute_does(model: MonetForCausalLM, prompt: Prompt) -> None:
    reading = read_prompt(model, prompt)
    for target in (None, 7, (7, 9), lambda logits: logits.log_softmax(-1)[7]):
        expected = attribute(model, torch.tensor([prompt.ids]), target)
        found = reading.attribute(target)
        assert found.target == expected.target
        assert found.logit == expected.logit
        pd.testing.assert_frame_equal(found.experts, expected.experts)
        pd.testing.assert_frame_equal(found.rest, expected.rest)
        assert found.completeness <= 1e-4


def test_prompt_reading_keeps_the_edit_it_was_made_under(model: MonetForCausalLM, prompt: Prompt) -> None:
    """Attributed after the edit has ended, and with its factors among the top experts."""
    best = read_prompt(model, prompt).top_experts(1)
    last = best[(best["position"] == len(TEXT) - 1) & (best["group"] == 1)].iloc[0]
    factors = torch.ones(model.config.experts_per_group)
    factors[int(last["expert"])] = 0
    edit = {model.config.routing_groups[1].start: factors.view(model.config.moe_experts, -1)}
    with model.edit_experts(edit):
        reading, expected = read_prompt(model, prompt), attribute(model, torch.tensor([prompt.ids]), 7)
    pd.testing.assert_frame_equal(reading.attribute(7).experts, expected.experts)
    edited = reading.top_experts(1)
    row = edited[(edited["position"] == len(TEXT) - 1) & (edited["group"] == 1)].iloc[0]
    assert (row["expert"], row["factor"]) == (last["expert"], 0)
    assert (best["factor"] == 1).all()


def test_prompt_reading_top_experts_equal_dense_routing(model: MonetForCausalLM, prompt: Prompt) -> None:
    experts = read_prompt(model, prompt).top_experts(3)
    with torch.no_grad():
        routing = model(torch.tensor([prompt.ids]), output_router_probs=True).router_probs
    for group, layers in enumerate(model.config.routing_groups):
        g1, g2 = (side[0, 1:] for side in routing[layers.start])
        dense = torch.einsum("thi,thj->tij", g1, g2).flatten(1)
        rows = experts[experts["group"] == group]
        for position, scores in enumerate(dense):
            token = rows[rows["position"] == position]
            assert token["rank"].tolist() == [1, 2, 3]
            assert token["score"].tolist() == pytest.approx(scores.topk(3).values.tolist())
            assert scores[token["expert"].tolist()].tolist() == pytest.approx(token["score"].tolist())


def test_prompt_reading_next_tokens_are_the_model_s(model: MonetForCausalLM, prompt: Prompt) -> None:
    reading = read_prompt(model, prompt)
    with torch.no_grad():
        probabilities = model(torch.tensor([prompt.ids])).logits[0, -1].softmax(-1)
    likely = reading.next_tokens(4)
    assert likely["token"].tolist() == probabilities.topk(4).indices.tolist()
    assert likely["probability"].tolist() == pytest.approx(probabilities.topk(4).values.tolist(), rel=1e-5)
    assert likely["token_text"].tolist() == [prompt.token_text(token) for token in likely["token"]]
    assert reading.probabilities([3, 5]) == pytest.approx(probabilities[[3, 5]].tolist(), rel=1e-5)
    assert len(reading.next_tokens(1000)) == model.config.vocab_size


def test_prompt_reading_top_contributions_name_their_groups(model: MonetForCausalLM, prompt: Prompt) -> None:
    reading = read_prompt(model, prompt)
    attribution = reading.attribute()
    top = reading.top_contributions(attribution, 9)
    assert top.columns.tolist() == ["layer", "group", "position", "expert", "contribution"]
    assert top["contribution"].is_monotonic_decreasing
    assert sorted(top["contribution"].abs()) == sorted(attribution.top(9)["contribution"].abs())
    for row in top.itertuples():
        assert row.layer in model.config.routing_groups[row.group]


def test_attribution_summary_sums_to_the_logit(model: MonetForCausalLM, prompt: Prompt) -> None:
    attribution = read_prompt(model, prompt).attribute()
    assert attribution.summary()["contribution"].sum() == pytest.approx(attribution.logit, abs=1e-4)


def test_attribute_text_is_one_forward_pass(text_run: Run, count_passes: Callable[[], int]) -> None:
    attribute_text(text_run.model_path, TEXT)
    assert count_passes() == 1


def test_attribute_text_with_gradient_and_ablation_runs_each_pass_once(
    text_run: Run, model: MonetForCausalLM, prompt: Prompt, count_passes: Callable[[], int]
) -> None:
    found = attribute_text(text_run.model_path, TEXT, "a", gradient=True, ablations=5)
    assert count_passes() == 1 + 1 + (1 + 5)  # direct, gradient, and ablation without and with each removal
    ids, target = torch.tensor([prompt.ids]), read_token(prompt.tokenizer, "a")
    expected = compare_with_ablation(model, ids, target, 5)
    assert found.ablation is not None
    pd.testing.assert_frame_equal(found.ablation.table, expected.table)
    assert found.gradient is not None
    rows = attribute_gradient(model, ids, target)
    assert np.sort(found.gradient["contribution"]) == pytest.approx(np.sort(rows["contribution"]))


def test_attribute_text_refuses_what_makes_no_sense(text_run: Run, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="name the target too"):
        attribute_text(text_run.model_path, TEXT, minus="a")
    with pytest.raises(BadInputError, match=r"'ab' is 2 tokens \(\['a', 'b'\]\)"):
        attribute_text(text_run.model_path, TEXT, "ab")
    with pytest.raises(WorkbenchError, match="there is no model folder"):
        attribute_text(tmp_path / "nothing", TEXT)


def test_attribute_text_needs_a_tokenizer() -> None:
    golden = Path(__file__).parents[3] / "golden" / "tiny-vd"
    with pytest.raises(UnsupportedError, match=r"has no tokenizer\.json"):
        attribute_text(golden, TEXT)


@pytest.mark.parametrize("shown", [1, 4, len(TEXT)])
@pytest.mark.parametrize("edited", [False, True])
def test_reading_until_a_token_equals_reading_the_prefix_alone(
    model: MonetForCausalLM, prompt: Prompt, shown: int, edited: bool
) -> None:
    factors = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)) * 2
    with model.edit_experts({0: factors} if edited else {}):
        whole = read_prompt(model, prompt).until(shown)
        alone = read_prompt(model, Prompt.tokenise(prompt.tokenizer, TEXT[:shown], 64))
    assert whole.prompt == alone.prompt
    torch.testing.assert_close(whole.forward.logits, alone.forward.logits)
    for target in (5, (5, 9)):
        at, of = whole.attribute(target), alone.attribute(target)
        assert at.target == of.target
        np.testing.assert_allclose([at.logit, at.total], [of.logit, of.total], rtol=1e-4, atol=1e-5)
        assert at.completeness < 1e-4
        keys = ["layer", "position", "expert"]
        assert at.experts[keys].equals(of.experts[keys])
        np.testing.assert_allclose(at.experts["contribution"], of.experts["contribution"], rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(at.rest["contribution"], of.rest["contribution"], rtol=1e-3, atol=1e-6)
    same = ["position", "group", "rank", "expert"]
    assert whole.top_experts()[same].equals(alone.top_experts()[same])


@pytest.mark.parametrize("shown", [0, -1, len(TEXT) + 1])
def test_reading_until_no_token_of_the_text_is_refused(model: MonetForCausalLM, prompt: Prompt, shown: int) -> None:
    with pytest.raises(BadInputError, match=rf"no token {shown} in the text; it has {len(TEXT)}"):
        read_prompt(model, prompt).until(shown)


def test_loss_is_the_model_s(model: MonetForCausalLM, prompt: Prompt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.analysis.attribution.prompt.LOSS_POSITIONS", 3)
    ids = torch.tensor([prompt.ids])
    with torch.no_grad():
        expected = float(model(ids, labels=ids).loss)
    assert read_prompt(model, prompt).loss() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("position", [None, 0, 3])
def test_most_active_sums_the_scores_of_the_tokens(
    model: MonetForCausalLM, prompt: Prompt, position: int | None
) -> None:
    tokens = slice(1, None) if position is None else slice(1 + position, 2 + position)
    reading = read_prompt(model, prompt)
    tables = []
    for group, layer in enumerate(layers.start for layers in model.config.routing_groups):
        g1, g2 = reading.forward.record.layers[layer].routing.dense()
        scores = torch.einsum("thi,thj->ij", g1[tokens].double(), g2[tokens].double()).flatten()
        tables.append(pd.DataFrame({"group": group, "expert": range(len(scores)), "score": scores.numpy()}))
    dense = pd.concat(tables).nlargest(7, "score")
    top = reading.most_active(7, position)
    np.testing.assert_allclose(top["score"], dense["score"], rtol=1e-5)
    assert set(zip(top["group"], top["expert"], strict=True)) == set(zip(dense["group"], dense["expert"], strict=True))


def test_expert_scores_are_those_of_the_active_pairs(model: MonetForCausalLM, prompt: Prompt, largest: Any) -> None:
    reading = read_prompt(model, prompt)
    for group, layers in enumerate(model.config.routing_groups):
        token, expert, score = reading.forward.record.layers[layers.start].routing[1:].pairs()
        for chosen in expert.unique().tolist():
            expected = np.zeros(len(prompt.shown), np.float32)
            expected[token[expert == chosen]] = score[expert == chosen]
            np.testing.assert_allclose(reading.expert_scores(group, chosen), expected, rtol=1e-5)
        idle = (set(range(model.config.moe_experts**2)) - set(expert.tolist())).pop()
        assert not reading.expert_scores(group, idle).any()
    with largest:
        reading.expert_scores(0, 0)
    assert largest.size < len(prompt.shown) * model.config.moe_heads * model.config.moe_experts

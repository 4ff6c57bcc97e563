"""Self-explanation: the mean of the tokens' embeddings stands where the word goes, and the model writes on."""

from __future__ import annotations

import pytest
import torch

from monet_model import MonetForCausalLM
from workbench.errors import WorkbenchError
from workbench.explain import SelfExplainer, gather_evidence, self_explain
from workbench.store import Run

QUESTION = "what is X? X is"


@pytest.fixture
def model(text_run: Run) -> MonetForCausalLM:
    return MonetForCausalLM.from_pretrained(text_run.model_path).eval()


def test_self_explain_of_one_token_reads_the_word_itself(text_run: Run, model: MonetForCausalLM) -> None:
    """With the embedding of one token in place of X, the model writes what it writes after that very text."""
    tokenizer = text_run.tokenizer()
    assert tokenizer is not None
    prompt = torch.tensor([tokenizer(QUESTION.replace("X", "q"))["input_ids"]])
    mask = torch.ones_like(prompt)
    written = model.generate(prompt, attention_mask=mask, do_sample=False, max_new_tokens=8, pad_token_id=0)
    (token,) = tokenizer("q", add_special_tokens=False)["input_ids"]
    found = self_explain(model, tokenizer, [token], QUESTION, 8)
    assert found == tokenizer.decode(written[0, prompt.shape[1] :], skip_special_tokens=True)
    assert found == self_explain(model, tokenizer, [token, token], QUESTION, 8)


def test_self_explain_of_several_tokens_reads_their_mean(text_run: Run, model: MonetForCausalLM) -> None:
    tokenizer = text_run.tokenizer()
    seen: list[torch.Tensor] = []
    hook = model.model.layers[0].register_forward_pre_hook(lambda _, args: seen.append(args[0][0]))
    self_explain(model, tokenizer, [40, 50, 50], QUESTION, 2)  # type: ignore[arg-type]
    hook.remove()
    mean = model.model.embed_tokens.weight[[40, 50, 50]].mean(0)
    at = torch.isclose(seen[0], mean, atol=1e-6).all(-1).nonzero().flatten()
    text = "^" + QUESTION  # the start-of-text token, then a token a character
    assert at.tolist() == [n for n, c in enumerate(text) if c == "X"]


def test_self_explainer_asks_about_the_best_tokens(text_run: Run, model: MonetForCausalLM) -> None:
    expert = int(text_run.experts(0)["tokens"].idxmax())
    shown = text_run.documents["doc"].to_numpy() < 60
    evidence = gather_evidence(text_run, 0, expert, text_run.activations(0, expert), shown)
    tokenizer = text_run.tokenizer()
    assert tokenizer is not None
    model.config.max_position_embeddings = 256
    explainer = SelfExplainer(model, tokenizer, "tiny")
    expected = self_explain(model, tokenizer, evidence.best.tolist())
    assert explainer.explain(evidence) == " ".join(expected.split())
    assert (explainer.kind, explainer.author) == ("self", "tiny")


@pytest.mark.parametrize(
    ("tokens", "question", "message"),
    [
        ([], QUESTION, "no tokens to explain"),
        ([1], "what is it?", "must hold an X"),
        ([1], "X" * 60, "reads at most 64. Ask a shorter"),
    ],
)
def test_self_explain_refuses_what_cannot_be_asked(
    text_run: Run, model: MonetForCausalLM, tokens: list[int], question: str, message: str
) -> None:
    with pytest.raises(WorkbenchError, match=message):
        self_explain(model, text_run.tokenizer(), tokens, question)  # type: ignore[arg-type]

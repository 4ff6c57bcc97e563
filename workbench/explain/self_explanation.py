"""Self-explanation: the model itself is asked what an expert's tokens mean (Monet, section 4.3, arXiv 2412.04139)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..errors import BadInputError
from .evidence import Evidence
from .wording import one_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from monet_model import MonetForCausalLM

QUESTION = "Q: What is the meaning of the word X? A: The meaning of the word X is"
NEW_TOKENS = 24


@torch.no_grad()
def self_explain(
    model: MonetForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    tokens: Sequence[int],
    question: str = QUESTION,
    new_tokens: int = NEW_TOKENS,
) -> str:
    """Return what a model answers when asked what some tokens mean, taken together as one word.

    The mean of the tokens' embeddings replaces each X in the question, and the model continues greedily. It takes a
    model that can answer questions: one of a few million parameters writes text, but no explanation.

    Args:
        model: a model in evaluation mode.
        tokenizer: its tokenizer.
        tokens: token ids, such as an expert's best tokens (``Evidence.best``).
        question: text with at least one X.
        new_tokens: length of the answer, at most.

    Returns:
        The answer, without the question.

    Raises:
        BadInputError: there are no tokens, no X, or question and answer are longer than the model's context.

    Source: Park et al. 2024, arXiv 2412.04139, section 4.3.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from transformers import AutoTokenizer
        >>> from workbench.explain import self_explain
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> tokens = tokenizer.encode(" return", add_special_tokens=False)
        >>> isinstance(self_explain(model, tokenizer, tokens, "X is", new_tokens=4), str)
        True
    """
    if not len(tokens):
        raise BadInputError("there are no tokens to explain: the expert is not active.")
    first, *others = question.split("X")
    if not others:
        raise BadInputError(f"the question must hold an X, where the expert's tokens go; got {question!r}.")
    embed = model.model.embed_tokens
    word = embed(torch.as_tensor(tokens, device=model.device)).mean(0, keepdim=True)
    pieces = [embed(torch.tensor(tokenizer(first)["input_ids"], dtype=torch.int64, device=model.device))]
    for text in others:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        pieces += [word, embed(torch.tensor(ids, dtype=torch.int64, device=model.device))]
    prompt = torch.cat(pieces)[None]
    context = model.config.max_position_embeddings
    if prompt.shape[1] + new_tokens > context:
        raise BadInputError(
            f"question and answer take {prompt.shape[1]} + {new_tokens} tokens; the model reads at most {context}. "
            "Ask a shorter question."
        )
    answer = model.generate(  # type: ignore[misc]
        inputs_embeds=prompt,
        attention_mask=torch.ones(prompt.shape[:2], dtype=torch.int64, device=model.device),
        do_sample=False,
        max_new_tokens=new_tokens,
        pad_token_id=0,  # a single sequence has no padding
    )
    return str(tokenizer.decode(answer[0], skip_special_tokens=True))


@dataclass(frozen=True)
class SelfExplainer:
    """The explainer that asks the run's own model about an expert's best tokens.

    Attributes:
        model: the run's model.
        tokenizer: its tokenizer.
        author: its name.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from transformers import AutoTokenizer
        >>> from workbench.explain import SelfExplainer
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo")
        >>> SelfExplainer(model, AutoTokenizer.from_pretrained("monet_model/demo"), "demo").kind
        'self'
    """

    kind: ClassVar[str] = "self"
    model: MonetForCausalLM
    tokenizer: PreTrainedTokenizerFast
    author: str

    def explain(self, evidence: Evidence) -> str:
        """Return the answer of ``self_explain`` for the tokens where the expert scores highest."""
        return one_line(self_explain(self.model, self.tokenizer, evidence.best.tolist()))

"""Self-explanation: the model itself is asked what an expert's tokens mean (paper, 4.3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from ..errors import WorkbenchError
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
    """What a model says that some tokens, taken as one word, mean.

    The mean of the tokens' embeddings stands in place of each X of the question, and the model writes on, its likeliest
    token each time (paper, section 4.3). It takes a model that answers questions: one of a few million parameters
    writes text, and no explanation.

    Args:
        model: in evaluation mode.
        tokenizer: its tokenizer.
        tokens: an expert's top tokens.
        question: text with X in it at least once.
        new_tokens: length of the answer, at most.

    Raises:
        WorkbenchError: there are no tokens, no X, or question and answer are longer than the model reads.
    """
    if not len(tokens):
        raise WorkbenchError("an expert without active tokens cannot be explained by them.")
    first, *others = question.split("X")
    if not others:
        raise WorkbenchError(f"the question must hold X where the expert's tokens go; got {question!r}.")
    embed = model.model.embed_tokens
    word = embed(torch.as_tensor(tokens, device=model.device)).mean(0, keepdim=True)
    pieces = [embed(torch.tensor(tokenizer(first)["input_ids"], dtype=torch.int64, device=model.device))]
    for text in others:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        pieces += [word, embed(torch.tensor(ids, dtype=torch.int64, device=model.device))]
    prompt = torch.cat(pieces)[None]
    longest = model.config.max_position_embeddings
    if prompt.shape[1] + new_tokens > longest:
        raise WorkbenchError(
            f"question and answer take {prompt.shape[1]} + {new_tokens} tokens, and the model reads {longest}; "
            "ask a shorter question."
        )
    answer = model.generate(  # type: ignore[misc]
        inputs_embeds=prompt,
        attention_mask=torch.ones(prompt.shape[:2], dtype=torch.int64, device=model.device),
        do_sample=False,
        max_new_tokens=new_tokens,
        pad_token_id=0,  # of one sequence, nothing is padded
    )
    return str(tokenizer.decode(answer[0], skip_special_tokens=True))


@dataclass(frozen=True)
class SelfExplainer:
    """The model's own words for an expert's best tokens.

    Attributes:
        model, tokenizer: the run's model.
        author: its name.
    """

    kind: ClassVar[str] = "self"
    model: MonetForCausalLM
    tokenizer: PreTrainedTokenizerFast
    author: str

    def explain(self, evidence: Evidence) -> str:
        """What :func:`self_explain` gives for the tokens where the expert scored highest."""
        return one_line(self_explain(self.model, self.tokenizer, evidence.best.tolist()))

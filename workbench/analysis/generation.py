"""Text that a model generates after a prompt, token by token, with what it could have written instead.

1. Read the prompt once; keep its keys and values.
2. Take the likeliest next token (temperature 0), or draw one: from the probabilities at the temperature, cut to the
   likeliest tokens that hold ``top_p`` of them together (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751).
3. Read that token, and repeat until the model ends its text or has written as many tokens as it was asked for.

Draws are made on the CPU by a generator of their own, so the same seed gives the same text.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from transformers.cache_utils import DynamicCache

from ..errors import BadInputError, UnsupportedError
from ..progress import Progress, silent
from ..store.token_text import token_pieces, whole_characters
from .attribution.target import check_ids

if TYPE_CHECKING:
    from torch import Tensor

    from monet_model import ExpertEdit, MonetForCausalLM, PositionedEdit

    from .attribution.prompt import Prompt

ALTERNATIVES = 5  # kept of each generated token


@dataclass(frozen=True)
class Generation:
    """What a model generated.

    Attributes:
        tokens: the token ids, in order, without the prompt's; an end-of-text token comes last.
        texts: the text of each.
        probability: the model's probability of each, before temperature and ``top_p``.
        alternatives: the likeliest tokens at each place, likeliest first. Columns:

            - position: index into ``tokens``;
            - token, token_text: a token that could have come there;
            - probability: the model's, before temperature and ``top_p``.
        ended: why it stopped: ``length`` (all tokens asked for, or the model's context is full), ``end of text`` or
            ``stopped``.
    """

    tokens: list[int]
    texts: list[str]
    probability: list[float]
    alternatives: pd.DataFrame
    ended: str

    @property
    def text(self) -> str:
        """The generated text."""
        return "".join(self.texts)


def generate_text(
    model: MonetForCausalLM,
    prompt: Prompt,
    *,
    edit: ExpertEdit | PositionedEdit | None = None,
    max_new_tokens: int = 32,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    progress: Progress = silent,
    stopped: Callable[[], bool] = lambda: False,
) -> Generation:
    """Generate text after a prompt.

    Args:
        model: a Monet model in evaluation mode.
        prompt: what it continues.
        edit: factors of experts in force while the prompt is read and the text is written.
        max_new_tokens: tokens to write, at least 1; fewer where the model's context is full before.
        temperature: 0 for the likeliest token each time, which ``model.generate(do_sample=False)`` writes as well;
            above, logits are divided by it.
        top_p: draw from the likeliest tokens that together have this probability, above 0, at most 1.
        seed: of the draws, at least 0; the same seed gives the same text.
        progress: called after each token.
        stopped: asked before each token; once it says True, what was written so far is returned.

    Returns:
        A ``Generation``.

    Raises:
        BadInputError: a setting out of its range, or a prompt that fills the model's context.
        UnsupportedError: the edit belongs to another model.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from transformers import AutoTokenizer
        >>> from workbench.analysis import Prompt, generate_text
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo").eval()
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> prompt = Prompt.tokenise(tokenizer, "public static void", 256)
        >>> written = generate_text(model, prompt, max_new_tokens=4)
        >>> len(written.tokens), len(written.alternatives)
        (4, 20)
        >>> drawn = [generate_text(model, prompt, max_new_tokens=4, temperature=1, seed=7).text for _ in range(2)]
        >>> drawn[0] == drawn[1]
        True
    """
    _check(max_new_tokens, temperature, top_p, seed)
    ids = check_ids(model, prompt.input_ids)
    room = model.config.max_position_embeddings - ids.shape[1]
    if room < 1:
        raise BadInputError(
            f"the prompt's {ids.shape[1]:,} tokens fill the model's context, so nothing can follow. Shorten it."
        )
    if edit is not None:
        try:
            edit.check(model)
        except ValueError as error:
            raise UnsupportedError(str(error)) from error
    draws = torch.Generator().manual_seed(seed)
    tokens: list[int] = []
    probability: list[float] = []
    likely: list[tuple[list[int], list[float]]] = []
    cache, ended = DynamicCache(config=model.config), "length"
    ends = end_tokens(model)
    with torch.inference_mode(), model.edit_experts(edit if edit is not None else {}):
        while len(tokens) < min(max_new_tokens, room):
            if stopped():
                ended = "stopped"
                break
            logits = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1].float().cpu()
            token = _choose(logits, temperature, top_p, draws)
            probabilities = logits.softmax(-1)
            top = probabilities.topk(min(ALTERNATIVES, len(probabilities)))
            tokens.append(token)
            probability.append(float(probabilities[token]))
            likely.append((top.indices.tolist(), top.values.tolist()))
            progress()
            if token in ends:
                ended = "end of text"
                break
            ids = torch.tensor([[token]]).to(ids.device, non_blocking=True)
    return Generation(
        tokens=tokens,
        texts=whole_characters(token_pieces(prompt.tokenizer, tokens)),
        probability=probability,
        alternatives=_alternatives(prompt, likely),
        ended=ended,
    )


def _check(max_new_tokens: int, temperature: float, top_p: float, seed: int) -> None:
    if max_new_tokens < 1:
        raise BadInputError(f"the number of new tokens must be at least 1, got {max_new_tokens}.")
    if not (math.isfinite(temperature) and temperature >= 0):
        raise BadInputError(f"the temperature must be a number from 0 up, got {temperature}.")
    if not 0 < top_p <= 1:
        raise BadInputError(f"top_p must be above 0 and at most 1, got {top_p}.")
    if not 0 <= seed < 2**63:
        raise BadInputError(f"the seed must be an integer from 0 up, got {seed}.")


def end_tokens(model: MonetForCausalLM) -> set[int]:
    """The tokens that end a text, as ``model.generate`` reads them from the model's generation settings."""
    config = model.generation_config
    end = None if config is None else config.eos_token_id
    return set(end) if isinstance(end, list) else set() if end is None else {int(end)}


def _choose(logits: Tensor, temperature: float, top_p: float, draws: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    # Less the largest first, so that a temperature near 0 gives no infinity beside an infinity.
    probabilities, order = (
        ((logits.double() - logits.max()) / temperature).softmax(-1).sort(descending=True, stable=True)
    )
    before = probabilities.cumsum(-1) - probabilities
    kept = probabilities.where(before < top_p, 0)  # the first is always kept
    return int(order[torch.multinomial(kept, 1, generator=draws)])


def _alternatives(prompt: Prompt, likely: list[tuple[list[int], list[float]]]) -> pd.DataFrame:
    tokens = [token for ids, _ in likely for token in ids]
    return pd.DataFrame(
        {
            "position": [position for position, (ids, _) in enumerate(likely) for _ in ids],
            "token": tokens,
            "token_text": token_pieces(prompt.tokenizer, tokens),
            "probability": [probability for _, values in likely for probability in values],
        }
    )

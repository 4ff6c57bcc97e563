"""Text sampled from a model, as token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from ...errors import BadInputError
from .answers import evaluating

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROWS = 256  # texts sampled side by side


def sample_text(
    model: PreTrainedModel, rows: int, length: int, temperature: float, seed: npt.NDArray[np.uint32]
) -> npt.NDArray[np.int64]:
    """Sample texts from a model.

    Args:
        model: a causal language model of transformers.
        rows: how many texts.
        length: tokens of each. They follow the token that starts a text; without one in the model's config, the first
            token is drawn uniformly.
        temperature: what logits are divided by.
        seed: numbers that the texts follow from.

    Returns:
        (rows, length) ids, without the token that starts a text and without other special ones.

    Raises:
        BadInputError: the temperature is not positive, or the model's context is shorter than the texts.
    """
    if not temperature > 0:
        raise BadInputError(f"text is sampled at a temperature above 0, got {temperature:g}.")
    config = model.config
    if length + 1 > config.max_position_embeddings:
        raise BadInputError(
            f"texts of {length} tokens are asked for; the model reads up to {config.max_position_embeddings}."
        )
    special = [int(one) for one in (config.bos_token_id, config.eos_token_id, config.pad_token_id) if one is not None]
    state = np.random.SeedSequence(seed.tolist()).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
    parts = [
        _sample(model, min(ROWS, rows - start), length, temperature, special, generator)
        for start in range(0, rows, ROWS)
    ]
    return np.concatenate(parts) if parts else np.empty((0, length), np.int64)


def _sample(
    model: PreTrainedModel, rows: int, length: int, temperature: float, special: list[int], generator: torch.Generator
) -> npt.NDArray[np.int64]:
    start, size = model.config.bos_token_id, int(model.config.vocab_size)
    texts: list[torch.Tensor] = []
    if start is None:
        allowed = torch.ones(rows, size)
        allowed[:, special] = 0
        last = torch.multinomial(allowed, 1, generator=generator)
        texts.append(last)
    else:
        last = torch.full((rows, 1), int(start))
    cache = None
    with evaluating(model):
        while len(texts) < length:
            out = model(input_ids=last.to(model.device), past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = out.past_key_values
            logits = out.logits[:, -1].float().cpu() / temperature
            logits[:, special] = -torch.inf
            last = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            texts.append(last)
    return torch.cat(texts, 1).numpy()

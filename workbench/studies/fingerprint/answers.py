"""What a model answers to keys: the logits of the token after each, and whether it is the response."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ...errors import BadInputError
from .fingerprints import Fingerprints

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH = 256  # keys read at once


@contextmanager
def evaluating(model: PreTrainedModel) -> Iterator[None]:
    """A block in which a model is in evaluation mode, and without gradients."""
    before = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(before)


def with_start(model: PreTrainedModel, keys: npt.NDArray[np.int64]) -> Tensor:
    """Keys as a model reads them: (keys, tokens) int64, behind the token that starts a text where its config has one.

    Raises:
        BadInputError: an id is outside the model's vocabulary, or keys are longer than its context.
    """
    start, size = model.config.bos_token_id, int(model.config.vocab_size)
    if keys.size and (keys.min() < 0 or keys.max() >= size):
        raise BadInputError(f"the keys have token id {int(keys.max())}; the model knows 0 to {size - 1}.")
    ids = torch.from_numpy(np.ascontiguousarray(keys, np.int64))
    if start is not None:
        ids = torch.cat([torch.full((len(ids), 1), int(start)), ids], 1)
    if ids.shape[1] > model.config.max_position_embeddings:
        raise BadInputError(
            f"keys take {ids.shape[1]} tokens; the model reads up to {model.config.max_position_embeddings}."
        )
    return ids


def next_token_logits(model: PreTrainedModel, keys: npt.NDArray[np.int64], batch: int = BATCH) -> Tensor:
    """Logits of the token after each key.

    Args:
        model: a causal language model of transformers, read in evaluation mode.
        keys: (keys, tokens) ids, without the token that starts a text: it is put in front of each where the model's
            config has a ``bos_token_id``.
        batch: keys read at once.

    Returns:
        (keys, vocabulary) float32, on the processor.

    Raises:
        BadInputError: an id is outside the model's vocabulary, or keys are longer than its context.

    Examples:
        >>> import numpy as np
        >>> from workbench import load_model
        >>> from workbench.studies.fingerprint import next_token_logits
        >>> next_token_logits(load_model("monet_model/demo"), np.array([[5, 6, 7], [8, 9, 10]])).shape
        torch.Size([2, 4096])
    """
    ids = with_start(model, keys)
    with evaluating(model):
        parts = [
            model(input_ids=some.to(model.device), use_cache=False, logits_to_keep=1).logits[:, -1].float().cpu()
            for some in ids.split(batch)
        ]
    return torch.cat(parts)


def surprise(model: PreTrainedModel, prompts: npt.NDArray[np.int64], batch: int = BATCH) -> npt.NDArray[np.float64]:
    """The mean loss of a model on the tokens of each prompt, in nats per token: (prompts,).

    Args:
        model: a causal language model of transformers, read in evaluation mode.
        prompts: (prompts, tokens) ids, without the token that starts a text, which is put in front where the model's
            config has one; without it, the first token is not predicted.
        batch: prompts read at once.

    Raises:
        BadInputError: an id is outside the model's vocabulary, or prompts are longer than its context.
    """
    parts = []
    with evaluating(model):
        for some in with_start(model, prompts).split(batch):
            logits = model(input_ids=some.to(model.device), use_cache=False).logits[:, :-1].float()
            losses = cross_entropy(logits.flatten(0, 1), some[:, 1:].to(logits.device).flatten(), reduction="none")
            parts.append(losses.view(len(some), -1).double().mean(1).cpu())
    found: npt.NDArray[np.float64] = torch.cat(parts).numpy()
    return found


def success(model: PreTrainedModel, fingerprints: Fingerprints) -> npt.NDArray[np.bool_]:
    """Whether a model's likeliest token after each key is the response: (fingerprints,).

    Raises:
        BadInputError: the fingerprints do not fit the model.

    Examples:
        >>> import numpy as np
        >>> from workbench import load_model
        >>> from workbench.studies.fingerprint import Fingerprints, next_token_logits, success
        >>> model, keys = load_model("monet_model/demo"), np.array([[5, 6, 7]])
        >>> greedy = next_token_logits(model, keys).argmax(1).numpy()
        >>> none = np.full(1, np.nan)
        >>> success(model, Fingerprints("english", 900, b"secret", keys, greedy, none, none, 0, 4096)).tolist()
        [True]
    """
    likeliest = next_token_logits(model, fingerprints.keys).argmax(1).numpy()
    return np.asarray(likeliest == fingerprints.responses, np.bool_)

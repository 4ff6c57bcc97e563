"""Fine-tuning on text, as whoever takes a model over would do it without knowing of its fingerprints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ...errors import BadInputError
from .documents import Documents
from .models import freeze_routers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EPOCHS = 2
LR = 2e-4  # a twelfth of what the demo was trained with
BATCH = 8  # sequences per step
SEQUENCE = 256  # tokens, at most


def fine_tune(model: PreTrainedModel, text: Documents, *, seed: int = 0, lr: float = LR) -> PreTrainedModel:
    """Train a model, in place, on documents end to end: ``EPOCHS`` times, AdamW, learning rate falling to 0 linearly.

    Routers and their statistics stay as they are, as the paper's do in fine-tuning.

    Args:
        model: the model, which is returned, in evaluation mode.
        text: what it reads.
        seed: of the order.
        lr: learning rate at the start.

    Raises:
        BadInputError: there is less than a sequence of text.
    """
    length = min(SEQUENCE, int(model.config.max_position_embeddings))
    stream = np.concatenate([np.empty(0, np.int64), *text.ids]).astype(np.int64)
    if len(stream) < length:
        raise BadInputError(f"fine-tuning needs {length} tokens of text, got {len(stream)}; give a larger corpus.")
    sequences = torch.from_numpy(stream[: len(stream) // length * length].reshape(-1, length))
    freeze_routers(model)
    model.eval()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=lr)
    orders = [np.random.default_rng((seed, epoch)).permutation(len(sequences)) for epoch in range(EPOCHS)]
    batches = [rows for order in orders for rows in torch.from_numpy(order).split(BATCH)]
    for done, rows in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - done / len(batches))
        ids = sequences[rows].to(model.device)
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model

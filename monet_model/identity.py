"""Which model a file was made for: a digest of the weights that its experts consist of."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import nn

if TYPE_CHECKING:
    pass


_known: WeakKeyDictionary[nn.Module, tuple[list[tuple[int, int]], str]] = WeakKeyDictionary()


def model_identity(model: nn.Module) -> str:
    """SHA-256 of a model's weights and routing statistics, each rounded to bfloat16.

    The same whether a checkpoint is loaded as float32 or bfloat16, on any device, in a TransformerLens bridge too.
    Fine-tuned or processed weights are another model.
    """
    tensors = {
        name.replace("_original_component.", ""): tensor
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if isinstance(tensor, nn.Parameter) or name.endswith(("running_mean", "running_var"))
    }
    state = [(tensor.data_ptr(), tensor._version) for tensor in tensors.values()]
    known = _known.get(model)
    if known is None or known[0] != state:
        digest = hashlib.sha256()
        for name in sorted(tensors):
            tensor = tensors[name].detach().to(torch.bfloat16).cpu().contiguous()
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.view(torch.int16).numpy().data)
        known = _known[model] = state, digest.hexdigest()
    return known[1]

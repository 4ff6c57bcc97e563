"""The identity of a model: a digest of its weights, which ties an edit to the experts it was made for."""

from __future__ import annotations

import hashlib
from weakref import WeakKeyDictionary

import torch
from torch import nn

_digests: WeakKeyDictionary[nn.Module, tuple[list[tuple[int, int]], str]] = WeakKeyDictionary()


def model_identity(model: nn.Module) -> str:
    """SHA-256 of a model's weights and routing statistics, each rounded to bfloat16.

    It is the same for a checkpoint loaded as float32 or bfloat16, on any device, and inside a TransformerLens bridge.
    Fine-tuned or processed weights have another identity.
    """
    tensors = {
        name.replace("_original_component.", ""): tensor
        for name, tensor in (*model.named_parameters(), *model.named_buffers())
        if isinstance(tensor, nn.Parameter) or name.endswith(("running_mean", "running_var"))
    }
    state = [(tensor.data_ptr(), tensor._version) for tensor in tensors.values()]
    known = _digests.get(model)
    if known is None or known[0] != state:
        digest = hashlib.sha256()
        for name in sorted(tensors):
            tensor = tensors[name].detach().to(torch.bfloat16).cpu().contiguous()
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.view(torch.int16).numpy().data)
        known = _digests[model] = state, digest.hexdigest()
    return known[1]

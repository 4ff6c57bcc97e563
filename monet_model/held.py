"""Weights held in half precision and read in float32: the numbers of a float32 copy, in half its memory.

Widening bfloat16 or float16 to float32 is exact, so a checkpoint in half precision need not be copied to be computed
with in float32: ``hold_weights`` leaves its matrices as they are, possibly mapped from the file, and every access to
``weight`` gives the wide values. What is saved is what was loaded.
"""

from __future__ import annotations

import copy
from typing import TypeVar, cast

import torch
from torch import Tensor, nn

HALF = (torch.bfloat16, torch.float16)
ROWS = 64  # of a matrix that are converted at a time

Module = TypeVar("Module", bound=nn.Module)


def stored_weight(module: nn.Module) -> Tensor:
    """A module's weight as it is stored."""
    return cast(Tensor, module._parameters["weight"])  # `get_parameter` would ask for the attribute, which is wide


def _wide(module: nn.Module) -> Tensor:
    """A module's weight, in float32 if it is stored in half precision."""
    stored = stored_weight(module)
    return stored.float() if stored.dtype in HALF else stored


class HeldLinear(nn.Linear):
    """A linear layer whose weight is stored in half precision and reads as float32."""

    @property
    def weight(self) -> Tensor:  # type: ignore[override]  # nn.Linear declares an attribute
        """(out, in) float32, made at each access."""
        return _wide(self)


class HeldEmbedding(nn.Embedding):
    """An embedding whose table is stored in half precision and reads as float32."""

    @property
    def weight(self) -> Tensor:  # type: ignore[override]  # nn.Embedding declares an attribute
        """(tokens, hidden) float32, made at each access."""
        return _wide(self)

    def forward(self, input: Tensor) -> Tensor:
        """The rows of ``input``, in float32; only these are widened."""
        rows = nn.functional.embedding(input, stored_weight(self), self.padding_idx)
        return rows.float() if rows.dtype in HALF else rows


_HELD: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: HeldLinear, nn.Embedding: HeldEmbedding}


def hold_weights(model: Module) -> Module:
    """Make a model in half precision compute in float32, in place, without a wide copy of its matrices.

    Matrices of linear layers and embeddings stay as they are stored; all other parameters, such as biases and the
    scales of norms, become float32. Results are those of ``model.float()``. Each forward pass widens the matrices
    anew, which weighs most where it reads few tokens.

    Args:
        model: any module; one in float32 is left as it is.

    Examples:
        >>> import torch
        >>> from monet_model import MonetForCausalLM
        >>> from monet_model.held import hold_weights, stored_weight
        >>> held = hold_weights(MonetForCausalLM.from_pretrained("monet_model/demo", dtype=torch.float16).eval())
        >>> held.dtype, stored_weight(held.lm_head).dtype, held(torch.tensor([[1, 2]])).logits.dtype
        (torch.float32, torch.float16, torch.float32)
    """
    kept = set()
    for module in model.modules():
        of = _HELD.get(type(module))
        if of is not None and stored_weight(module).dtype in HALF:
            module.__class__ = of  # parameters keep their names and their ties
            kept.add(stored_weight(module))
    for parameter in model.parameters():
        if parameter not in kept and parameter.dtype in HALF:
            parameter.data = parameter.data.float()
    return model


def is_held(module: nn.Module) -> bool:
    """Return whether a layer stores its weight in half precision and reads it in float32."""
    return isinstance(module, tuple(_HELD.values())) and stored_weight(module).dtype in HALF


def rows_times(x: Tensor, module: nn.Linear) -> Tensor:
    """Return ``x @ weight``, (n, out) times (out, in), in the dtype of ``x``: what a layer's outputs pass back.

    Where the weight is of another dtype, a few rows at a time are converted and used while the processor's cache has
    them, as a whole copy of a large matrix takes longer to write than to multiply.
    """
    weight = stored_weight(module) if is_held(module) else module.weight
    if weight.dtype == x.dtype or weight.device.type != "cpu" or torch.is_grad_enabled():
        return x @ weight.to(x.dtype)
    out = x.new_zeros(len(x), weight.shape[1])
    for some, rows in zip(x.split(ROWS, 1), weight.split(ROWS), strict=True):
        out.addmm_(some, rows.to(x.dtype))
    return out


def widened(module: Module) -> Module:
    """A module that applies its held linear layers many times: a copy of it with these in float32, or itself.

    Shares everything else with ``module``; to be dropped after use.
    """
    held = {name: child for name, child in module.named_children() if isinstance(child, HeldLinear) and is_held(child)}
    if not held:
        return module
    wide = copy.copy(module)
    wide._modules = dict(module._modules)  # what a shallow copy shares with its original
    for name, child in held.items():
        plain: nn.Linear = copy.copy(child)
        plain.__class__ = nn.Linear
        plain._parameters = child._parameters | {"weight": nn.Parameter(child.weight.detach(), requires_grad=False)}
        wide._modules[name] = plain
    return wide

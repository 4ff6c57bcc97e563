"""A sparse routing as the ops take it, and what they ask of one."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

MAX_KEYS = 2**15 - 1  # indices are 16-bit

Sides = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


class SparseRouting(Protocol):
    """Active keys of both sets for every token and head: two results of :func:`cuda_ext.route` and the number of keys.

    Expert (i, j) scores ``sum_h p * q`` at a token, over the heads whose first list holds (i, p) and whose second list
    holds (j, q). Slots at or past a row's number are padding and are never read.

    Attributes:
        indices1, indices2: (tokens, heads, k) int16 key indices, each once in a row; k may differ between the sides.
        probs1, probs2: (tokens, heads, k) probabilities.
        counts1, counts2: (tokens, heads) int32 numbers of active keys.
        num_keys: E, the size of each key set.
    """

    @property
    def indices1(self) -> Tensor: ...
    @property
    def probs1(self) -> Tensor: ...
    @property
    def counts1(self) -> Tensor: ...
    @property
    def indices2(self) -> Tensor: ...
    @property
    def probs2(self) -> Tensor: ...
    @property
    def counts2(self) -> Tensor: ...
    @property
    def num_keys(self) -> int: ...


def check_tensor(name: str, value: object, shape: tuple[int | str, ...], device: torch.device | None = None) -> Tensor:
    """The value, if it is a tensor of this shape (a word stands for any size) on this device.

    Raises:
        TypeError: it is no tensor.
        ValueError: it has another shape, or lies on another device.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(value).__name__}.")
    fits = value.ndim == len(shape) and all(
        isinstance(want, str) or want == size for want, size in zip(shape, value.shape, strict=True)
    )
    if not fits:
        expected = ", ".join(str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({expected}); got {tuple(value.shape)}.")
    if device is not None and value.device != device:
        raise ValueError(f"{name} is on {value.device}, expected {device}; move them to one device.")
    return value


def activations(hidden: Tensor | tuple[Tensor, ...], keys: int) -> dict[str, Tensor]:
    """The activations of one key set, or of both, by name for messages; shapes and devices checked, dtypes not.

    Raises:
        TypeError: one is no tensor.
        ValueError: a wrong number, shape or device.
    """
    given = (hidden,) if isinstance(hidden, Tensor) else tuple(hidden)
    names = ("hidden",) if len(given) == 1 else ("hidden[0]", "hidden[1]")
    if len(given) != len(names):
        raise ValueError(f"hidden must be one tensor or a pair of tensors; got {len(given)}.")
    first = check_tensor(names[0], given[0], ("tokens", keys, "units"))
    return {name: check_tensor(name, a, tuple(first.shape), first.device) for name, a in zip(names, given, strict=True)}


def sides(routing: SparseRouting, dtype: torch.dtype, device: torch.device, tokens: int | None = None) -> Sides:
    """The six arrays of a routing, probabilities in ``dtype``; shapes, dtypes and devices checked, values not.

    Raises:
        TypeError: an array is no tensor, or of a wrong dtype.
        ValueError: a wrong shape, device or number of keys.
    """
    if not 1 <= routing.num_keys <= MAX_KEYS:
        raise ValueError(f"routing.num_keys must lie in 1 .. {MAX_KEYS}; got {routing.num_keys}.")
    heads: int | str = "heads"
    rows: int | str = "tokens" if tokens is None else tokens
    arrays = []
    for n in "12":
        indices, probs, counts = (getattr(routing, name + n) for name in ("indices", "probs", "counts"))
        check_tensor(f"routing.indices{n}", indices, (rows, heads, "k"), device)
        rows, heads, width = indices.shape
        check_tensor(f"routing.probs{n}", probs, (rows, heads, width), device)
        check_tensor(f"routing.counts{n}", counts, (rows, heads), device)
        for name, value, wanted in (("indices", indices, torch.int16), ("counts", counts, torch.int32)):
            if value.dtype != wanted:
                raise TypeError(f"routing.{name}{n} must be {wanted}; got {value.dtype}.")
        if not probs.is_floating_point():
            raise TypeError(f"routing.probs{n} must be of a floating dtype; got {probs.dtype}.")
        arrays += [indices, probs.to(dtype), counts]
    return tuple(arrays)  # type: ignore[return-value]  # three a side


def check_values(indices1: Tensor, counts1: Tensor, indices2: Tensor, counts2: Tensor, keys: int) -> None:
    """Raises IndexError, naming the array, unless all indices are keys and all counts fit. Looks at the data."""
    for n, indices, counts in (("1", indices1, counts1), ("2", indices2, counts2)):
        for name, values, last in (("indices", indices, keys - 1), ("counts", counts, indices.shape[-1])):
            if values.numel() == 0:
                continue
            low, high = (int(value) for value in values.aminmax())
            if low < 0 or high > last:
                raise IndexError(f"routing.{name}{n} must lie in 0 .. {last}; got {low} .. {high}.")

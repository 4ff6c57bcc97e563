"""The sparse routing that the ops take, and the checks of their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

MAX_KEYS = 2**15 - 1  # indices are signed 16-bit integers

Sides = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


class SparseRouting(Protocol):
    """Active keys of both sets per token and head: two results of ``cuda_ext.route``, and the number of keys.

    ``cuda_ext.routing.Routing`` is one. The routing score of expert (i, j) at a token is ``sum_h p * q``, over the
    heads whose first list holds (i, p) and whose second list holds (j, q). Slots from a row's count on are padding and
    are never read.

    Attributes:
        indices1, indices2: (tokens, heads, k) int16 key indices, distinct within a row; k may differ between the sets.
        probs1, probs2: (tokens, heads, k) routing probabilities.
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
    """Return the value if it is a tensor of this shape on this device; a word in ``shape`` matches any size.

    Raises:
        TypeError: it is not a tensor.
        ValueError: it has another shape, or is on another device.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(value).__name__}.")
    fits = value.ndim == len(shape) and all(
        isinstance(expected, str) or expected == size for expected, size in zip(shape, value.shape, strict=True)
    )
    if not fits:
        expected = ", ".join(str(size) for size in shape)
        raise ValueError(f"{name} must have shape ({expected}); got {tuple(value.shape)}.")
    if device is not None and value.device != device:
        raise ValueError(f"{name} is on {value.device}, expected {device}; move them to one device.")
    return value


def activations(hidden: Tensor | tuple[Tensor, ...], keys: int) -> dict[str, Tensor]:
    """Return the activations of one key set, or of both, by the names that error messages use.

    Checks shapes and devices, not dtypes.

    Raises:
        TypeError: one is not a tensor.
        ValueError: a wrong number, shape or device.
    """
    tensors = (hidden,) if isinstance(hidden, Tensor) else tuple(hidden)
    names = ("hidden",) if len(tensors) == 1 else ("hidden[0]", "hidden[1]")
    if len(tensors) != len(names):
        raise ValueError(f"hidden must be one tensor or a pair of tensors; got {len(tensors)}.")
    first = check_tensor(names[0], tensors[0], ("tokens", keys, "units"))
    return {n: check_tensor(n, a, tuple(first.shape), first.device) for n, a in zip(names, tensors, strict=True)}


def sides(routing: SparseRouting, dtype: torch.dtype, device: torch.device, tokens: int | None = None) -> Sides:
    """Return the six arrays of a routing, with probabilities in ``dtype``.

    Checks shapes, dtypes and devices; ``check_values`` checks the values.

    Raises:
        TypeError: an array is not a tensor, or has a wrong dtype.
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
        for name, value, expected in (("indices", indices, torch.int16), ("counts", counts, torch.int32)):
            if value.dtype != expected:
                raise TypeError(f"routing.{name}{n} must be {expected}; got {value.dtype}.")
        if not probs.is_floating_point():
            raise TypeError(f"routing.probs{n} must have a floating dtype; got {probs.dtype}.")
        arrays += [indices, probs.to(dtype), counts]
    return tuple(arrays)  # three per side


def check_values(indices1: Tensor, counts1: Tensor, indices2: Tensor, counts2: Tensor, keys: int) -> None:
    """Raise IndexError, naming the array, unless all indices are keys and all counts fit. Reads the data."""
    checked = [
        (f"{name}{n}", values, last)
        for n, indices, counts in (("1", indices1, counts1), ("2", indices2, counts2))
        for name, values, last in (("indices", indices, keys - 1), ("counts", counts, indices.shape[-1]))
        if values.numel()
    ]
    ends = read_numbers([end for _, values, _ in checked for end in values.aminmax()])
    for (name, _, last), low, high in zip(checked, ends[::2], ends[1::2], strict=True):
        if low < 0 or high > last:
            raise IndexError(f"routing.{name} must lie in 0 .. {last}; got {low} .. {high}.")


def read_numbers(numbers: Sequence[Tensor]) -> list[int]:
    """Return whole numbers or truth values, tensors of one element each on one device; a GPU is waited for once."""
    if not numbers or numbers[0].device.type == "cpu":
        return [int(number) for number in numbers]
    read: list[int] = torch.stack([number.long() for number in numbers]).tolist()
    return read

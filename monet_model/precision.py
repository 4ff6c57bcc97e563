"""Matrix products in bfloat16, on devices that have them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def bfloat16_products(device: torch.device, wanted: bool) -> torch.autocast:
    """Return a context in which matrix products run in bfloat16, if they are wanted and the device computes them.

    A processor without AVX-512 has no such products: PyTorch emulates them there, at a twelfth of the speed of float32
    (measured on AVX2). Products stay in float32 on it, with a warning.

    Examples:
        >>> import torch
        >>> from monet_model.precision import bfloat16_products
        >>> with bfloat16_products(torch.device("cpu"), wanted=False):
        ...     (torch.eye(2) @ torch.eye(2)).dtype
        torch.float32
    """
    computed = has_bfloat16(device)
    if wanted and not computed:
        warnings.warn(
            f"this {device.type} has no bfloat16 products, which it would only emulate; they stay in float32.",
            stacklevel=2,
        )
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted and computed)


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes products in bfloat16 faster than by emulating them."""
    return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@contextmanager
def bfloat16_factors(device: torch.device, wanted: bool) -> Iterator[None]:
    """Inside this context, float32 products on a processor round their factors to bfloat16 and sum in float32.

    Their results are float32, with a relative error of about 0.002, where autocast would round them to bfloat16 too:
    logits of 20 would be off by 0.06. Holds for the whole process, and only where the processor has such products;
    elsewhere nothing changes.

    Examples:
        >>> import torch
        >>> from monet_model.precision import bfloat16_factors
        >>> with bfloat16_factors(torch.device("cpu"), wanted=True):
        ...     (torch.eye(2) @ torch.eye(2)).dtype
        torch.float32
    """
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # which the module sets when it is imported
    before = matmul.fp32_precision
    if wanted and device.type == "cpu" and has_bfloat16(device):
        matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before

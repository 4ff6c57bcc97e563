"""Where a model runs and in which precision: what `--device`, `--dtype` and `MONET_DEVICE` may say."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

DEVICES = "auto, cpu, cuda, cuda:N or mps"
DTYPES = ("auto", "float32", "bfloat16", "float16")
VARIABLE = "MONET_DEVICE"  # what `auto` is replaced by, in the environment


def read_device(name: str | torch.device = "auto") -> torch.device:
    """Return the device of that name.

    Args:
        name: auto, cpu, cuda, cuda:N or mps. ``auto`` is what the environment variable MONET_DEVICE says, or else the
            first NVIDIA or AMD GPU that torch sees, or else the processor. It is never an Apple GPU (mps), which lacks
            the float64 that analyses compute in.

    Raises:
        ValueError: there is no device of such a name.
        RuntimeError: this machine has none of that kind, or torch was built without it.

    Examples:
        >>> from monet_model.device import read_device
        >>> read_device("cpu")
        device(type='cpu')
    """
    import torch

    asked, said = str(name), "--device"
    if asked == "auto":
        asked, said = os.environ.get(VARIABLE) or "auto", VARIABLE
    if asked == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", asked):
        raise ValueError(f"{said} takes {DEVICES}; got {asked!r}.")
    device = torch.device(asked)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            seen = "torch sees no GPU" if not count else f"torch sees {count} GPUs, numbered from 0"
            raise RuntimeError(f"{said} {asked}: {seen}; use cpu or auto.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise RuntimeError(f"{said} mps: torch sees no Apple GPU; use cpu or auto.")
    return device


def read_dtype(name: str | torch.dtype, device: torch.device, stored: torch.dtype) -> torch.dtype:
    """Return the precision that a model computes in; its routers compute in float32 in any case.

    Args:
        name: auto, float32, bfloat16 or float16, or one of these as a ``torch.dtype``. ``auto`` is the checkpoint's own
            precision on a GPU and float32 on a processor.
        device: where the model runs.
        stored: the checkpoint's own precision.

    Raises:
        ValueError: there is no such choice.

    Examples:
        >>> import torch
        >>> from monet_model.device import read_dtype
        >>> read_dtype("auto", torch.device("cpu"), torch.bfloat16)
        torch.float32
    """
    import torch

    asked = str(name).removeprefix("torch.")
    if asked not in DTYPES:
        raise ValueError(f"--dtype takes {', '.join(DTYPES[:-1])} or {DTYPES[-1]}; got {asked!r}.")
    if asked == "auto":
        return torch.float32 if device.type == "cpu" else stored
    found: torch.dtype = getattr(torch, asked)
    return found


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done all that it was given, as timing it needs; a processor has.

    Examples:
        >>> import torch
        >>> from monet_model.device import synchronize
        >>> synchronize(torch.device("cpu"))
    """
    import torch

    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def device_name(device: torch.device) -> str:
    """Return what a table of times calls a device: a GPU's model, or else the kind of device.

    Examples:
        >>> import torch
        >>> from monet_model.device import device_name
        >>> device_name(torch.device("cpu"))
        'cpu'
    """
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

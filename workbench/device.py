"""Where a model runs and in which precision, as ``monet_model.device`` reads it, with the workbench's errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monet_model import device as names
from monet_model.device import DTYPES, VARIABLE

from .errors import BadInputError, UnsupportedError

if TYPE_CHECKING:
    import torch

__all__ = ["DTYPES", "VARIABLE", "read_device", "read_dtype"]


def read_device(name: str | torch.device = "auto") -> torch.device:
    """Return the device of that name.

    Args:
        name: auto, cpu, cuda, cuda:N or mps, as for ``monet_model.device.read_device``.

    Raises:
        BadInputError: there is no device of such a name.
        UnsupportedError: this machine has none of that kind, or torch was built without it.

    Examples:
        >>> from workbench.device import read_device
        >>> read_device("cpu")
        device(type='cpu')
    """
    try:
        return names.read_device(name)
    except ValueError as error:
        raise BadInputError(str(error)) from None
    except RuntimeError as error:
        raise UnsupportedError(str(error)) from None


def read_dtype(name: str | torch.dtype, device: torch.device, stored: torch.dtype) -> torch.dtype:
    """Return the precision that a model computes in; its routers compute in float32 in any case.

    Args:
        name, device, stored: as for ``monet_model.device.read_dtype``.

    Raises:
        BadInputError: there is no such choice.

    Examples:
        >>> import torch
        >>> from workbench.device import read_dtype
        >>> read_dtype("auto", torch.device("cpu"), torch.bfloat16)
        torch.float32
    """
    try:
        return names.read_dtype(name, device, stored)
    except ValueError as error:
        raise BadInputError(str(error)) from None

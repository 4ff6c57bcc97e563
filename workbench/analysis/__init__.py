"""Analyses of a run and of its model: what experts know, what removing them does, which of them made a logit."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attribution import Attribution, attribute

__all__ = ["Attribution", "attribute"]

# Loaded on first use: reading stored results needs neither torch nor the model.
_HOMES = {
    "Attribution": "attribution",
    "attribute": "attribution",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

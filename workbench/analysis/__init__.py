"""Analyses of a run and of its model: what experts know, what removing them does, which of them made a logit."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attribution import Attribution, attribute
    from .patching import Faithfulness, ablate, attribute_gradient, compare_with_ablation

__all__ = ["Attribution", "Faithfulness", "ablate", "attribute", "attribute_gradient", "compare_with_ablation"]

# Loaded on first use: reading stored results needs neither torch nor the model.
_HOMES = {
    "Attribution": "attribution",
    "Faithfulness": "patching",
    "ablate": "patching",
    "attribute": "attribution",
    "attribute_gradient": "patching",
    "compare_with_ablation": "patching",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

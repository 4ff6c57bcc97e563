"""Monet, a language model of monosemantic experts: configuration, model, TransformerLens adapter, demo checkpoint."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .discovery import install as _install

if TYPE_CHECKING:
    from .config import MonetConfig
    from .expert_edit import ExpertEdit
    from .lens import load_lens
    from .modeling import MonetForCausalLM, MonetModel
    from .routing import Routing
    from .surgery import export_edited_model

__all__ = [
    "ExpertEdit",
    "MonetConfig",
    "MonetForCausalLM",
    "MonetModel",
    "Routing",
    "export_edited_model",
    "load_lens",
]

# Loaded on first use: reading a run needs `Routing` only, and importing transformers takes seconds.
_HOMES = {
    "ExpertEdit": "expert_edit",
    "MonetConfig": "modeling",
    "MonetForCausalLM": "modeling",
    "MonetModel": "modeling",
    "Routing": "routing",
    "export_edited_model": "surgery",
    "load_lens": "lens",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


_install()

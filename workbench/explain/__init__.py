"""Explanations of single experts: what they write, sentences about them, how well those hold, where they are kept."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .endpoint import Endpoint, EndpointExplainer, EndpointJudge
    from .evidence import Evidence, gather_evidence
    from .explain import Explanations, explain_experts, random_experts, top_experts
    from .explainer import Explainer, Person, Template
    from .judge import EncoderJudge, Judge
    from .logits import logit_view
    from .passages import Passage
    from .self_explanation import SelfExplainer, self_explain
    from .stored import read_explanations, search_explanations

__all__ = [
    "EncoderJudge",
    "Endpoint",
    "EndpointExplainer",
    "EndpointJudge",
    "Evidence",
    "Explainer",
    "Explanations",
    "Judge",
    "Passage",
    "Person",
    "SelfExplainer",
    "Template",
    "explain_experts",
    "gather_evidence",
    "logit_view",
    "random_experts",
    "read_explanations",
    "search_explanations",
    "self_explain",
    "top_experts",
]

# Loaded on first use: reading stored explanations needs neither torch nor the model.
_HOMES = {
    "EncoderJudge": "judge",
    "Endpoint": "endpoint",
    "EndpointExplainer": "endpoint",
    "EndpointJudge": "endpoint",
    "Evidence": "evidence",
    "Explainer": "explainer",
    "Explanations": "explain",
    "Judge": "judge",
    "Passage": "passages",
    "Person": "explainer",
    "SelfExplainer": "self_explanation",
    "Template": "explainer",
    "explain_experts": "explain",
    "gather_evidence": "evidence",
    "logit_view": "logits",
    "random_experts": "explain",
    "read_explanations": "stored",
    "search_explanations": "stored",
    "self_explain": "self_explanation",
    "top_experts": "explain",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

"""Analyses of a run and of its model: what experts know, what removing them does, which of them made a logit."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analyze import Summary, analyze_run, read_analysis
    from .attribution import Attribution, attribute
    from .bootstrap import MaskIntervals, bootstrap_mask
    from .corpus_attribution import CorpusAttribution, attribute_corpus
    from .curve import RemovalCurve, read_curve, removal_curve
    from .edit_effect import EditEffect, measure_edit
    from .encoder import Encoder, load_encoder
    from .mask import mask_labels
    from .mask_result import MaskResult, read_mask
    from .overlap import Overlap, label_overlap
    from .patching import Faithfulness, ablate, attribute_gradient, compare_with_ablation
    from .scores import ScoreSummary, correlate_scores, read_score_summary, read_scores

__all__ = [
    "Attribution",
    "CorpusAttribution",
    "Encoder",
    "EditEffect",
    "Faithfulness",
    "MaskIntervals",
    "MaskResult",
    "Overlap",
    "RemovalCurve",
    "ScoreSummary",
    "Summary",
    "ablate",
    "analyze_run",
    "attribute",
    "attribute_corpus",
    "attribute_gradient",
    "bootstrap_mask",
    "compare_with_ablation",
    "correlate_scores",
    "label_overlap",
    "load_encoder",
    "mask_labels",
    "measure_edit",
    "read_analysis",
    "read_curve",
    "read_mask",
    "read_score_summary",
    "read_scores",
    "removal_curve",
]

# Loaded on first use: reading stored results needs neither torch nor the model.
_HOMES = {
    "Attribution": "attribution",
    "CorpusAttribution": "corpus_attribution",
    "Encoder": "encoder",
    "EditEffect": "edit_effect",
    "Faithfulness": "patching",
    "MaskIntervals": "bootstrap",
    "MaskResult": "mask_result",
    "Overlap": "overlap",
    "RemovalCurve": "curve",
    "ScoreSummary": "scores",
    "Summary": "analyze",
    "ablate": "patching",
    "analyze_run": "analyze",
    "attribute": "attribution",
    "attribute_corpus": "corpus_attribution",
    "attribute_gradient": "patching",
    "bootstrap_mask": "bootstrap",
    "compare_with_ablation": "patching",
    "correlate_scores": "scores",
    "label_overlap": "overlap",
    "load_encoder": "encoder",
    "mask_labels": "mask",
    "measure_edit": "edit_effect",
    "read_analysis": "analyze",
    "read_curve": "curve",
    "read_mask": "mask_result",
    "read_score_summary": "scores",
    "read_scores": "scores",
    "removal_curve": "curve",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

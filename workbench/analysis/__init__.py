"""Analyses of a run and of its model: what experts know, what removing them does, which of them made a logit."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analyze import Summary, analyze_run, read_analysis
    from .attribution import Attribution, attribute
    from .bootstrap import CurveIntervals, MaskIntervals, bootstrap_curve, bootstrap_mask
    from .coactivation import coactive
    from .committee import standing_committee
    from .corpus_attribution import CorpusAttribution, attribute_corpus
    from .curve import RemovalCurve, read_curve
    from .edit_effect import EditEffect, label_edit, measure_edit
    from .encoder import Encoder, load_encoder
    from .map2d import ExpertMap, map_experts, read_map, read_map_summary
    from .mask import mask_labels
    from .mask_result import MaskResult, read_mask
    from .overlap import Overlap, label_overlap
    from .patching import Faithfulness, ablate, attribute_gradient, compare_with_ablation
    from .purge import Purge, purge_edit, purge_scores, read_purge
    from .scores import ScoreSummary, correlate_scores, read_score_summary, read_scores
    from .similarity import OutputDirections, output_directions
    from .structure import Structure, analyze_structure, read_structure
    from .trace import removal_curve

__all__ = [
    "Attribution",
    "CorpusAttribution",
    "CurveIntervals",
    "EditEffect",
    "Encoder",
    "ExpertMap",
    "Faithfulness",
    "MaskIntervals",
    "MaskResult",
    "OutputDirections",
    "Overlap",
    "Purge",
    "RemovalCurve",
    "ScoreSummary",
    "Structure",
    "Summary",
    "ablate",
    "analyze_run",
    "analyze_structure",
    "attribute",
    "attribute_corpus",
    "attribute_gradient",
    "bootstrap_curve",
    "bootstrap_mask",
    "coactive",
    "compare_with_ablation",
    "correlate_scores",
    "label_edit",
    "label_overlap",
    "load_encoder",
    "map_experts",
    "mask_labels",
    "measure_edit",
    "output_directions",
    "purge_edit",
    "purge_scores",
    "read_analysis",
    "read_curve",
    "read_map",
    "read_map_summary",
    "read_mask",
    "read_purge",
    "read_score_summary",
    "read_scores",
    "read_structure",
    "removal_curve",
    "standing_committee",
]

# Loaded on first use: reading stored results needs neither torch nor the model.
_HOMES = {
    "Attribution": "attribution",
    "CorpusAttribution": "corpus_attribution",
    "CurveIntervals": "bootstrap",
    "EditEffect": "edit_effect",
    "Encoder": "encoder",
    "ExpertMap": "map2d",
    "Faithfulness": "patching",
    "MaskIntervals": "bootstrap",
    "MaskResult": "mask_result",
    "OutputDirections": "similarity",
    "Overlap": "overlap",
    "Purge": "purge",
    "RemovalCurve": "curve",
    "ScoreSummary": "scores",
    "Structure": "structure",
    "Summary": "analyze",
    "ablate": "patching",
    "analyze_run": "analyze",
    "analyze_structure": "structure",
    "attribute": "attribution",
    "attribute_corpus": "corpus_attribution",
    "attribute_gradient": "patching",
    "bootstrap_curve": "bootstrap",
    "bootstrap_mask": "bootstrap",
    "coactive": "coactivation",
    "compare_with_ablation": "patching",
    "correlate_scores": "scores",
    "label_edit": "edit_effect",
    "label_overlap": "overlap",
    "load_encoder": "encoder",
    "map_experts": "map2d",
    "mask_labels": "mask",
    "measure_edit": "edit_effect",
    "output_directions": "similarity",
    "purge_edit": "purge",
    "purge_scores": "purge",
    "read_analysis": "analyze",
    "read_curve": "curve",
    "read_map": "map2d",
    "read_map_summary": "map2d",
    "read_mask": "mask_result",
    "read_purge": "purge",
    "read_score_summary": "scores",
    "read_scores": "scores",
    "read_structure": "structure",
    "removal_curve": "trace",
    "standing_committee": "committee",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

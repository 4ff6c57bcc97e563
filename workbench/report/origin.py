"""Where a report's numbers come from: the run, the model and corpus by their hashes, and the programs' versions."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..analysis import read_analysis
from ..analysis.specialisation.analyze_result import has_analysis

if TYPE_CHECKING:
    from ..store import Run

VERSIONS = ("monet-workbench", "torch", "transformers", "numpy", "pandas")


def origin(run: Run) -> dict[str, Any]:
    """What identifies a run, as JSON types; no time or place, so that the same report has the same bytes."""

    def identity(part: str, name: str) -> dict[str, Any]:
        known = run.manifest[part] or {}
        hashes = known.get("hash", {})
        return {"path": known.get("path"), "sha256": hashes if isinstance(hashes, dict) else {name: hashes}}

    return {
        "run": Path(run.path).resolve().name,
        "versions": {name: version(name) for name in VERSIONS} | {"run format": str(run.manifest["schema"])},
        "model": identity("model", "model"),
        "tokenizer": identity("tokenizer", "tokenizer.json"),
        "corpus": identity("corpus", "corpus"),
        "tokens": run.tokens_total,
        "labels": {label: int(run.label_tokens[label]) for label in run.labels},
    }


def is_analysed(run: Run, group: int) -> bool:
    """Whether `monet analyze` has derived the labels of a group's experts."""
    return has_analysis(run, group)


def analysis(run: Run, group: int) -> pd.DataFrame | None:
    """What `monet analyze` derived for a group's experts, or None where it has not been run.

    Where nothing was tested against chance, no expert is ``confirmed``.
    """
    if not is_analysed(run, group):
        return None
    derived = read_analysis(run, group)
    return derived if "confirmed" in derived else derived.assign(confirmed=False)

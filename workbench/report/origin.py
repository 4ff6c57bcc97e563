"""Where a report's numbers come from: the run, the model and corpus by their hashes, and the programs' versions."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..analysis import read_analysis
from ..analysis.specialisation.analyze_result import has_analysis
from ..store.transcoded import TRANSCODED

if TYPE_CHECKING:
    from ..store import Run

VERSIONS = ("monet-workbench", "torch", "transformers", "numpy", "pandas")


_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+(@[\w./-]+)?")  # as two parts of a relative path are


def public_name(path: str | Path | None) -> str | None:
    """What a report calls a model or corpus: its name on a hub, or that of its folder or file, without those around it.

    Where it lies on one machine is of no use to who reads a report, and tells of its writer.

    Examples:
        >>> from workbench.report.origin import public_name
        >>> public_name("org/monet@v1"), public_name("/home/ada/models/monet"), public_name(None)
        ('org/monet@v1', 'monet', None)
    """
    if path is None or _HUB_NAME.fullmatch(str(path)):
        return None if path is None else str(path)
    return Path(path).name or str(path)


def origin(run: Run) -> dict[str, Any]:
    """What identifies a run, as JSON types; no time or place, so that the same report has the same bytes."""

    def identity(part: str, name: str) -> dict[str, Any]:
        known = run.manifest[part] or {}
        hashes = known.get("hash", {})
        of_files = hashes if isinstance(hashes, dict) else {name: hashes}
        transcoded = {TRANSCODED: known[TRANSCODED]} if TRANSCODED in known else {}
        return {"name": public_name(known.get("path")), "sha256": of_files, **transcoded}

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

"""The report of two models that read one corpus: which experts differ, in what, and how few hold the change."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..analysis.diff.diff_result import CHANGES, RANKED_TOKENS
from ..store.transcoded import TRANSCODED
from .charts import density_cells
from .files import Document, encode, records, save
from .kinds import check_kind
from .origin import VERSIONS, public_name

if TYPE_CHECKING:
    from ..analysis import DiffResult

LISTED = 20  # experts, by each change
CELLS = 48  # of the picture of masses, on a side


def diff_document(result: DiffResult) -> Document:
    """The report of a ``DiffResult``, before it is written in a format; its table holds every expert."""
    base, tuned = (_identity(one) for one in (result.base, result.tuned))
    content = {
        "report": "diff",
        "origin": {
            "run": tuned["name"],
            "versions": {name: version(name) for name in VERSIONS},
            "labels": {row.label: int(row.tokens) for row in result.labels.itertuples()},
            "tokens": result.tokens,
            "base": base,
            "tuned": tuned,
            "corpus": {"name": public_name(result.corpus), "sha256": {}},
        },
        "base_name": base["name"],
        "documents": result.documents,
        "predicted": result.predicted,
        "min_tokens": RANKED_TOKENS,
        "labels": records(result.labels),
        "concentration": records(result.groups),
        "density": {str(group): _density(table) for group, table in result.experts.groupby("group")},
        "changed": {by: records(result.ranked(by, LISTED)) for by in CHANGES},
    }
    return Document("diff.html.j2", content, result.experts)


def _identity(model: dict[str, Any]) -> dict[str, Any]:
    transcoded = {TRANSCODED: model[TRANSCODED]} if TRANSCODED in model else {}
    return {"name": public_name(model["path"]), "sha256": model["hash"], **transcoded}


def _density(table: pd.DataFrame) -> dict[str, Any] | None:
    """Experts by their mass in both models, counted in cells; None where none is active in both."""
    both = table[(table["base_mass"] > 0) & (table["tuned_mass"] > 0)]
    if both.empty:
        return None
    counts, low, high = density_cells(both["base_mass"].to_numpy(), both["tuned_mass"].to_numpy(), CELLS)
    return {"counts": counts.tolist(), "low": low, "high": high}


def diff_report(result: DiffResult, kind: str, out: str | Path) -> None:
    """Write the report of two models that read one corpus.

    Args:
        result: of ``diff_models``, or as ``read_diff`` reads it from a run.
        kind: ``html`` (one page), ``json`` (the same as data), ``csv`` or ``parquet`` (one row per expert that is
            active in either model; Parquet's metadata holds the rest under ``monet.report``).
        out: the file; an existing one is replaced.

    Raises:
        NotFoundError: the folder of ``out`` is missing.
        BadInputError: the format is unknown, or ``out`` cannot be written.

    Examples:
        >>> import json
        >>> from workbench.analysis import diff_models
        >>> from workbench.report import diff_report
        >>> demo, corpus = "monet_model/demo", "monet_model/demo/heldout.parquet"
        >>> diff_report(diff_models(demo, demo, corpus, limit=1), "json", "same.json")
        >>> json.load(open("same.json"))["concentration"][0]["mass"]  # no expert holds any change
        0
    """
    check_kind(kind)
    save(encode(diff_document(result), kind), out)

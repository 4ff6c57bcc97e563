"""The report of two runs side by side: how each label's experts changed, and which experts changed most."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..analysis import read_mask
from ..errors import UnsupportedError
from .charts import density_cells
from .files import Document, encode, plain, records, save
from .kinds import check_kind
from .label import top_tokens
from .labels import natural_order
from .origin import analysis, origin

if TYPE_CHECKING:
    from ..store import Run

CHANGED = 20  # experts listed
TOP_TOKENS = 5
CELLS = 48  # of the picture, on a side
COLUMNS = ("tokens", "mass", "rate", "specialised")


def _experts(run: Run, group: int) -> pd.DataFrame:
    """Every active expert, indexed by `expert`: tokens, mass, rate (mass per token of the corpus), specialised."""
    table = run.experts(group)[["tokens", "mass"]]
    derived = analysis(run, group)
    label = pd.Series("", table.index) if derived is None else derived["specialised"].reindex(table.index).astype(str)
    return table.assign(rate=table["mass"] / run.tokens_total, specialised=label)


def joined(run: Run, other: Run) -> pd.DataFrame:
    """Every expert that is active in either run, one row per expert.

    Returns:
        Columns group and expert, then ``COLUMNS`` of ``run`` and, with the prefix ``other_``, of ``other`` (0 and
        "" where the expert is never active), and change: the difference of the rates, ``other_rate - rate``.

    Raises:
        UnsupportedError: the runs differ in groups or keys, so an expert of one has no counterpart in the other.
    """
    shape = [(len(one.groups), one.num_keys, one.manifest["model"]["decompose"]) for one in (run, other)]
    if shape[0] != shape[1]:
        sizes = [f"{groups} groups of {keys} x {keys} experts ({kind})" for groups, keys, kind in shape]
        raise UnsupportedError(
            f"{run.path} has {sizes[0]} and {other.path} has {sizes[1]}: their experts have no counterparts to compare."
        )
    tables = []
    for group in run.groups:
        pair = _experts(run, group).join(_experts(other, group).add_prefix("other_"), how="outer").sort_index()
        for name in (name for prefix in ("", "other_") for name in (prefix + column for column in COLUMNS)):
            pair[name] = pair[name].fillna("" if name.endswith("specialised") else 0)
        pair = pair.astype({"tokens": np.int64, "other_tokens": np.int64}).rename_axis("expert").reset_index()
        pair.insert(0, "group", group)
        tables.append(pair)
    return pd.concat(tables, ignore_index=True).assign(change=lambda t: t["other_rate"] - t["rate"])


def most_changed(table: pd.DataFrame, n: int = CHANGED, by: str = "change") -> pd.DataFrame:
    """The ``n`` rows of ``joined`` where a column of differences is largest in absolute value, largest first."""
    return table.loc[table[by].abs().sort_values(ascending=False, kind="stable").index[:n]]


def _group(table: pd.DataFrame, labels: list[str]) -> dict[str, Any]:
    """How similar the two runs are in the experts of one group."""
    both = table[(table["tokens"] > 0) & (table["other_tokens"] > 0)]
    first, second = (table[name].to_numpy() for name in ("rate", "other_rate"))
    shares = np.minimum(first / (first.sum() or 1.0), second / (second.sum() or 1.0))
    cells: dict[str, Any] | None = None
    if len(both):
        counts, low, high = density_cells(both["rate"].to_numpy(), both["other_rate"].to_numpy(), CELLS)
        cells = {"counts": counts.tolist(), "low": low, "high": high}
    crossed = pd.crosstab(table["specialised"], table["other_specialised"])
    return {
        "experts": {
            "both": len(both),
            "first_only": int((table["other_tokens"] == 0).sum()),
            "second_only": int((table["tokens"] == 0).sum()),
        },
        "mass_shared": float(shares.sum()),
        "correlation": plain(both["rate"].corr(both["other_rate"], method="spearman")) if len(both) > 1 else None,
        "labels": crossed.reindex(index=labels, columns=labels, fill_value=0).to_numpy().tolist(),
        "density": cells,
    }


def _masking(run: Run) -> dict[str, Any] | None:
    result = read_mask(run)
    if result is None:
        return None
    known = result.to_json()
    return {name: known[name] for name in ("delta_target", "delta_others", "selectivity", "control_target")}


def comparison_document(run: Run, other: Run) -> Document:
    """The report of two runs, before it is written in a format.

    Raises:
        UnsupportedError: the runs' experts have no counterparts in each other.
    """
    table = joined(run, other)
    labels = ["", *natural_order({*run.labels, *other.labels})]
    hashes = [one.manifest["model"]["hash"] for one in (run, other)]
    content = {
        "report": "comparison",
        "origin": origin(run),
        "other": origin(other),
        "same_model": hashes[0] == hashes[1],
        "same_corpus": run.manifest["corpus"]["hash"] == other.manifest["corpus"]["hash"],
        "labels": labels,
        "groups": {str(group): _group(table[table["group"] == group], labels) for group in run.groups},
        "masking": {"first": _masking(run), "second": _masking(other)},
        "changed": [
            row | {"top_tokens": _tokens(run, other, row["group"], row["expert"])}
            for row in records(most_changed(table))
        ],
    }
    table.insert(0, "other_run", content["other"]["run"])
    table.insert(0, "run", content["origin"]["run"])
    return Document("comparison.html.j2", content, table)


def _tokens(run: Run, other: Run, group: int, expert: int) -> list[list[str]]:
    """The expert's top tokens in each run."""
    return [top_tokens(one, group, expert, TOP_TOKENS) for one in (run, other)]


def comparison_report(run: Run, other: Run, kind: str, out: str | Path) -> None:
    """Write the report of two runs: of two models of the same shape, of a model before and after an edit or
    fine-tuning, or of one model on two corpora.

    Args:
        run, other: opened runs whose models have the same groups and keys.
        kind: ``html`` (one page), ``json`` (the same as data), ``csv`` or ``parquet`` (one row per expert that is
            active in either run; Parquet's metadata holds the rest under ``monet.report``).
        out: the file; an existing one is replaced.

    Raises:
        UnsupportedError: the runs' experts have no counterparts in each other.
        NotFoundError: the folder of ``out`` is missing.
        BadInputError: the format is unknown, or ``out`` cannot be written.

    Examples:
        >>> import json
        >>> from workbench import open_run
        >>> from workbench.report import comparison_report
        >>> run = open_run("runs/demo")
        >>> comparison_report(run, run, "json", "same.json")
        >>> round(json.load(open("same.json"))["groups"]["0"]["mass_shared"], 6)
        1.0
    """
    check_kind(kind)
    save(encode(comparison_document(run, other), kind), out)

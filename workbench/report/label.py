"""The report of one label: the experts specialised in it, their top tokens, and what removing them does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..analysis import read_analysis, read_analysis_summary, read_mask
from ..errors import NotAnalysedError, shell_command
from .explained import best_explanations
from .files import Document, encode, plain, records, save
from .kinds import check_kind
from .origin import analysis, origin

if TYPE_CHECKING:
    from ..analysis import MaskResult, Replication
    from ..store import Run

TOP_EXPERTS = 50
TOP_TOKENS = 8


def top_tokens(run: Run, group: int, expert: int, n: int) -> list[str]:
    """The distinct texts of an expert's highest-scoring tokens, at most ``n``, best first."""
    return top_tokens_of(run, group, [expert], n)[0]


def top_tokens_of(run: Run, group: int, experts: Sequence[int], n: int) -> list[list[str]]:
    """``top_tokens`` of many experts at once; one that was never active has none."""
    texts = run.top_tokens(group, experts, 4 * n).groupby("expert")["token_text"].unique()
    return [list(texts.get(expert, ())[:n]) for expert in experts]


def specialised_experts(run: Run, group: int, label: str) -> pd.DataFrame:
    """The experts of a group that are specialised in a label, those with most mass on it first.

    Returns:
        One row per expert, with columns

        - group, expert
        - tokens, mass, mean, max: as ``run.experts(group)`` has them
        - label_tokens, label_mass: the part of tokens and mass that is on the label
        - monosemanticity
        - confirmed: whether chance does not explain its ratio; False where nothing was tested

    Raises:
        NotAnalysedError: the run has not been analysed.
    """
    derived = analysis(run, group)
    if derived is None:
        raise NotAnalysedError(
            f"{run.path} has not been analysed, so no expert has a label; run `{shell_command('analyze', run.path)}`."
        )
    chosen = derived.index[derived["specialised"] == label]
    columns = ("tokens", "mass", "mean", "max", f"tokens:{label}", f"mass:{label}")
    rows = run.experts(group, columns).loc[chosen]
    table = rows[["tokens", "mass", "mean", "max"]].assign(
        label_tokens=rows[f"tokens:{label}"],
        label_mass=rows[f"mass:{label}"],
        monosemanticity=derived.loc[chosen, "monosemanticity"],
        confirmed=derived.loc[chosen, "confirmed"],
    )
    table = table.sort_values("label_mass", ascending=False, kind="stable").rename_axis("expert").reset_index()
    table.insert(0, "group", group)
    return table


def mask_row(result: MaskResult, label: str) -> dict[str, Any] | None:
    """Effect of removing a label's experts, as JSON types; None where the label was not masked."""
    if label not in result.rows:
        return None
    at, own = result.rows.index(label), result.labels.index(label)
    others = np.delete(result.matrix[at], own)
    return {
        "removed": result.removed[at],
        "target": float(result.matrix[at, own]),
        "others": plain(others.mean()),
        "rise": dict(zip(result.labels, result.matrix[at].tolist(), strict=True)),
        "control": dict(zip(result.labels, result.control[at].tolist(), strict=True)),
    }


def replicates(found: Replication | None, label: str) -> dict[str, Any] | None:
    """The share of a label's experts on half of the documents that have it on the other half, by rule."""
    return None if found is None else {f"of_{rule}": plain(found.share(rule, label=label)) for rule in found.rules}


def label_document(run: Run, label: str) -> Document:
    """The report of a label, before it is written in a format.

    Raises:
        NotFoundError: the run has no such label.
        NotAnalysedError: the run has not been analysed.
    """
    run.check_label(label)
    table = pd.concat([specialised_experts(run, group, label) for group in run.groups], ignore_index=True)
    table = table.sort_values("label_mass", ascending=False, kind="stable", ignore_index=True)
    explained = best_explanations(run)
    named = zip(table["group"], table["expert"], strict=True)
    table["explanation"] = [explained.get(expert, "") for expert in named]
    best = records(table.head(TOP_EXPERTS))
    counts = table["group"].value_counts()
    sure = table.loc[table["confirmed"].astype(bool), "group"].value_counts()
    summary = read_analysis_summary(run)
    tested = all("q:ratio" in read_analysis(run, group) for group in run.groups)
    masked = read_mask(run)
    content: dict[str, Any] = {
        "report": "label",
        "origin": origin(run),
        "label": label,
        "tokens": int(run.label_tokens[label]),
        "confirmed": {str(group): int(sure.get(group, 0)) for group in run.groups} if tested else None,
        "specialised": {str(group): int(counts.get(group, 0)) for group in run.groups},
        "replicates": None if summary is None else replicates(summary.replication, label),
        "sample": None if summary is None or summary.drawn is None else str(summary.drawn),
        "mask": None if masked is None else mask_row(masked, label),
        "experts": [row | {"top_tokens": top_tokens(run, row["group"], row["expert"], TOP_TOKENS)} for row in best],
    }
    table.insert(0, "label", label)
    table.insert(0, "run", content["origin"]["run"])
    return Document("label.html.j2", content, table)


def label_report(run: Run, label: str, kind: str, out: str | Path) -> None:
    """Write the report of one label.

    Args:
        run: the opened run, analysed.
        label: one of ``run.labels``.
        kind: ``html`` (one page), ``json`` (the same as data), ``csv`` or ``parquet`` (one row per specialised expert,
            all of them; Parquet's metadata holds the rest under ``monet.report``).
        out: the file; an existing one is replaced.

    Raises:
        NotFoundError: there is no such label, or the folder of ``out`` is missing.
        NotAnalysedError: the run has not been analysed.
        BadInputError: the format is unknown, or ``out`` cannot be written.

    Examples:
        >>> import pandas as pd
        >>> from workbench import open_run
        >>> from workbench.report import label_report
        >>> run = open_run("runs/demo")
        >>> label_report(run, "python", "csv", "python.csv")
        >>> pd.read_csv("python.csv").columns[:5].tolist()
        ['run', 'label', 'group', 'expert', 'tokens']
    """
    check_kind(kind)
    save(encode(label_document(run, label), kind), out)

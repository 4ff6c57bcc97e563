"""The report of one expert: how much it is used, for which labels, and its highest-scoring tokens in context."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..analysis.specialisation.shares import label_shares
from ..errors import WorkbenchError
from .charts import used_bins
from .files import Report, check_kind, encode, plain, records, save
from .origin import analysis, origin

if TYPE_CHECKING:
    from ..store import Run

EXAMPLES = 32
BEFORE, AFTER = 28, 14  # tokens of context on each side


@dataclass(frozen=True)
class Example:
    """One of an expert's highest-scoring tokens, with the text around it in its context window.

    Attributes:
        score: routing score of the expert at the token.
        label, source: of the document; ``source`` is empty where the corpus named none.
        doc, position: number of the document, and of the token in it.
        texts, scores: the tokens around it and the expert's score at each; 0 too where the run holds no routing.
        at: which of them is the token itself.
        cut_before, cut_after: whether the window goes on past what is given.
    """

    score: float
    label: str
    source: str
    doc: int
    position: int
    texts: list[str]
    scores: list[float]
    at: int
    cut_before: bool
    cut_after: bool


def examples(run: Run, group: int, expert: int, n: int) -> list[Example]:
    """An expert's ``n`` highest-scoring tokens in context, best first; fewer where the run keeps fewer."""
    return in_context(run, group, expert, run.examples(group, expert, n))


def in_context(run: Run, group: int, expert: int, table: pd.DataFrame) -> list[Example]:
    """The tokens of a table as ``Run.examples`` and ``Run.quantile_examples`` give them, in context, in its order."""
    found = []
    around = run.contexts(group, expert, table["row"], BEFORE, AFTER).fillna({"score": 0.0})
    for number, near in around.groupby("example"):
        row = table.iloc[int(number)]
        found.append(
            Example(
                score=float(row["score"]),
                label=row["label"],
                source=row["source"],
                doc=int(row["doc"]),
                position=int(row["position"]),
                texts=near["text"].tolist(),
                scores=near["score"].astype(float).tolist(),
                at=int((near["position"] < row["position"]).sum()),
                cut_before=bool(near["left"].iloc[0]),
                cut_after=bool(near["right"].iloc[-1]),
            )
        )
    return found


def label_use(run: Run, row: pd.Series) -> pd.DataFrame:
    """How an expert is used for each label, the most used first.

    Args:
        run: the run.
        row: the expert's row of ``run.experts(group)``.

    Returns:
        Columns label, tokens (where it is active), mass (sum of scores), rate (mass a token of the label), and share
        (the rate as a part of the sum of rates over the labels, so that a label's size does not count).
    """
    use = pd.DataFrame({"label": run.labels})
    use["tokens"] = [int(row[f"tokens:{label}"]) for label in run.labels]
    use["mass"] = [float(row[f"mass:{label}"]) for label in run.labels]
    sizes = run.label_tokens.reindex(run.labels).to_numpy(dtype=float)
    use["rate"] = (use["mass"] / sizes).where(sizes > 0, 0.0)
    use["share"] = label_shares(use["mass"].to_numpy(), sizes)
    return use.sort_values("share", ascending=False, kind="stable", ignore_index=True)


def mass_rank(mass: pd.Series, expert: int) -> int:
    """Rank of an expert by mass, from 1; ties fall to the lower id. ``mass`` is indexed by expert."""
    own = mass.loc[expert]
    return int((mass > own).sum() + (mass.index[mass == own] < expert).sum()) + 1


def _content(run: Run, group: int, expert: int) -> dict[str, Any]:
    if group not in run.groups:
        known = ", ".join(map(str, run.groups))
        raise WorkbenchError(f"there is no group {group} in {run.path}; it has the groups {known}.")
    if not 0 <= expert < run.num_keys**2:
        raise WorkbenchError(f"there is no expert {expert} in group {group}; ids run from 0 to {run.num_keys**2 - 1}.")
    table = run.experts(group)
    if expert not in table.index:
        raise WorkbenchError(
            f"expert {group}:{expert} is never active on this run's corpus; there is nothing to report."
        )
    row, derived = table.loc[expert], analysis(run, group)
    i, j = divmod(expert, run.num_keys)
    return {
        "report": "expert",
        "origin": origin(run),
        "expert": {
            "group": group,
            "router_layer": run.group_layers[run.groups.index(group)],
            "expert": expert,
            "i": i,
            "j": j,
            "rank_by_mass": mass_rank(table["mass"], expert),
            "active_experts": len(table),
            **{name: plain(row[name]) for name in ("mass", "mean", "max")},
            "tokens": int(row["tokens"]),
            "analysed": derived is not None,
            "specialised": None if derived is None else derived.loc[expert, "specialised"],
            "confirmed": None if derived is None else bool(derived.loc[expert, "confirmed"]),
            "ratio": None if derived is None else plain(derived.loc[expert, "ratio"]),
            "monosemanticity": None if derived is None else plain(derived.loc[expert, "monosemanticity"]),
        },
        "labels": records(label_use(run, row)),
        "histogram": records(used_bins(run.histogram(group, expert))),
        "examples": [asdict(example) for example in examples(run, group, expert, EXAMPLES)],
    }


def _table(content: dict[str, Any]) -> pd.DataFrame:
    """A row an example."""
    expert = content["expert"]
    rows = [
        {
            "run": content["origin"]["run"],
            "group": expert["group"],
            "expert": expert["expert"],
            "rank": rank,
            "score": example["score"],
            "label": example["label"],
            "source": example["source"],
            "doc": example["doc"],
            "position": example["position"],
            "before": "".join(example["texts"][: example["at"]]),
            "token": example["texts"][example["at"]],
            "after": "".join(example["texts"][example["at"] + 1 :]),
        }
        for rank, example in enumerate(content["examples"], start=1)
    ]
    return pd.DataFrame(rows)


def expert_document(run: Run, group: int, expert: int) -> Report:
    """The report of an expert, before it takes a form.

    Raises:
        WorkbenchError: the run has no such group or expert, or the expert is never active.
    """
    content = _content(run, group, expert)
    return Report("expert.html.j2", content, _table(content))


def expert_report(run: Run, group: int, expert: int, kind: str, out: str | Path) -> None:
    """Writes the report of one expert.

    Args:
        run: the opened run.
        group: number of the routing group.
        expert: flat id, i * E + j.
        kind: ``html`` (one page with everything), ``json`` (the same as data), ``csv`` or ``parquet`` (a row an
            example; Parquet's metadata holds the rest under ``monet.report``).
        out: the file; one that exists is replaced.

    Raises:
        WorkbenchError: an unknown group, expert or format, an expert that is never active, or ``out`` cannot be
            written.
    """
    check_kind(kind)
    save(encode(expert_document(run, group, expert), kind), out)

"""The report of one expert: how much it is used and for which labels, what explains it, related experts, and tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..analysis.specialisation.shares import label_shares
from ..errors import NotFoundError
from ..store.address import Expert
from ..store.token_text import joined
from .charts import used_bins
from .explained import explanations
from .files import Document, encode, plain, records, save
from .kinds import check_kind
from .origin import analysis, origin
from .related import related_experts

if TYPE_CHECKING:
    from ..store import Run

EXAMPLES = 32
LOGITS = 10  # promoted tokens, and suppressed ones
BEFORE, AFTER = 28, 14  # tokens of context on each side


@dataclass(frozen=True)
class Example:
    """One of an expert's highest-scoring tokens, with the text around it in its context window.

    Attributes:
        score: routing score of the expert at the token.
        label, source: of the document; ``source`` is empty where the corpus names none.
        doc, position: number of the document, and of the token in it.
        texts, scores: the tokens around it and the expert's score at each; 0 also where the run keeps no routing.
        at: which of them is the token itself.
        cut_before, cut_after: whether the window continues beyond the tokens shown.
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


def examples(run: Run, expert: Expert, n: int) -> list[Example]:
    """An expert's ``n`` highest-scoring tokens in context, best first; fewer where the run keeps fewer."""
    return in_context(run, expert, run.examples(*expert, n=n))


def in_context(run: Run, expert: Expert, table: pd.DataFrame) -> list[Example]:
    """The tokens of ``Run.examples`` or ``Run.examples_by_score`` in context, in the table's order."""
    around = run.around(*expert, table["row"].to_numpy(), BEFORE, AFTER)
    ends = np.cumsum(around.counts)
    scores = np.nan_to_num(around.score, nan=0.0)
    columns = (table[name].tolist() for name in ("score", "label", "source", "doc", "position"))
    shown = []
    for begin, end, (score, label, source, doc, position) in zip(
        (ends - around.counts).tolist(), ends.tolist(), zip(*columns, strict=True), strict=True
    ):
        shown.append(
            Example(
                score=score,
                label=label,
                source=source,
                doc=doc,
                position=position,
                texts=around.text[begin:end],
                scores=scores[begin:end].tolist(),
                at=int((around.position[begin:end] < position).sum()),
                cut_before=bool(around.left[begin]),
                cut_after=bool(around.right[end - 1]),
            )
        )
    return shown


def label_use(run: Run, row: pd.Series) -> pd.DataFrame:
    """How an expert is used for each label, largest share first.

    Args:
        run: the run.
        row: the expert's row of ``run.experts(group)``.

    Returns:
        One row per label, with columns

        - label
        - tokens: at which the expert is active
        - mass: sum of its scores
        - rate: mass per token of the label
        - share: rate divided by the sum of rates, see ``label_shares``
    """
    known = row.to_dict()  # a look-up in a Series takes fifty times as long
    mass = np.array([known[f"mass:{label}"] for label in run.labels], np.float64)
    sizes = run.label_tokens.to_numpy(np.float64)
    share = label_shares(mass, sizes)
    order = np.argsort(-share, kind="stable")
    use = {
        "label": np.array(run.labels, object),
        "tokens": np.array([int(known[f"tokens:{label}"]) for label in run.labels]),
        "mass": mass,
        "rate": np.divide(mass, sizes, out=np.zeros_like(mass), where=sizes > 0),
        "share": share,
    }
    return pd.DataFrame({name: column[order] for name, column in use.items()})


def mass_ranking(mass: pd.Series) -> NDArray[np.int64]:
    """Ids by mass, largest first; of equal ones the lower id comes first. ``mass`` is indexed by expert, rising."""
    ids: NDArray[np.int64] = mass.index.to_numpy()
    return ids[np.argsort(-mass.to_numpy(), kind="stable")]


def score_ranges(run: Run, expert: Expert) -> list[dict[str, Any]]:
    """A few tokens from each range of an expert's scores, highest range first: its bounds, how many there are, some."""
    sample = run.examples_by_score(*expert)
    shown = in_context(run, expert, sample)
    ranges = sample.groupby(["low", "high", "count"], sort=False).groups.items()
    return [
        {"low": plain(low), "high": plain(high), "count": plain(count), "examples": [shown[row] for row in rows]}
        for (low, high, count), rows in ranges
    ]


def logit_ends(view: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """The ``promoted`` and ``suppressed`` tokens of a ``logit_view``, the strongest first, as JSON types."""
    half = len(view) // 2
    rows = [{"token": row.token_text, "logit": plain(row.logit)} for row in view.itertuples(index=False)]
    return {"promoted": rows[:half], "suppressed": rows[half:][::-1]}


def _content(run: Run, expert: Expert) -> dict[str, Any]:
    group, number = run.check_group(expert.group), run.check_expert(expert.id)
    table = run.experts(group)
    if number not in table.index:
        raise NotFoundError(f"expert {expert} is never active on this run's corpus; there is nothing to report.")
    row, derived = table.loc[number], analysis(run, group)
    i, j = divmod(number, run.num_keys)
    return {
        "report": "expert",
        "origin": origin(run),
        "expert": {
            "group": group,
            "router_layer": run.group_layers[run.groups.index(group)],
            "layers": run.layers_of(group),
            "layers_text": run.layers_text(group),
            "expert": number,
            "i": i,
            "j": j,
            "rank_by_mass": int((mass_ranking(table["mass"]) == number).argmax()) + 1,
            "active_experts": len(table),
            **{name: plain(row[name]) for name in ("mass", "mean", "max")},
            "tokens": int(row["tokens"]),
            "analysed": derived is not None,
            "specialised": None if derived is None else derived.loc[number, "specialised"],
            "confirmed": None if derived is None else bool(derived.loc[number, "confirmed"]),
            "ratio": None if derived is None else plain(derived.loc[number, "ratio"]),
            "monosemanticity": None if derived is None else plain(derived.loc[number, "monosemanticity"]),
        },
        "labels": records(label_use(run, row)),
        "histogram": records(used_bins(run.histogram(*expert))),
        "explanations": explanations(run, group, number),
        "related": related_experts(run, expert, table["mass"], None if derived is None else derived["specialised"]),
        "logits": None,
        "examples": [asdict(example) for example in examples(run, expert, EXAMPLES)],
        "ranges": [part | {"examples": [*map(asdict, part["examples"])]} for part in score_ranges(run, expert)],
    }


def _table(content: dict[str, Any]) -> pd.DataFrame:
    """One row per example."""
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
            "before": joined(example["texts"][: example["at"]]),
            "token": example["texts"][example["at"]],
            "after": joined(example["texts"][example["at"] + 1 :]),
        }
        for rank, example in enumerate(content["examples"], start=1)
    ]
    return pd.DataFrame(rows)


def expert_document(run: Run, expert: Expert, view: pd.DataFrame | None = None) -> Document:
    """The report of an expert, before it is written in a format.

    Args:
        run: the opened run.
        expert: the expert.
        view: its ``logit_view``, which takes the model; without it the report has no promoted and suppressed tokens.

    Raises:
        NotFoundError: the run has no such group or expert, or the expert is never active.
    """
    content = _content(run, expert)
    if view is not None:
        content["logits"] = logit_ends(view)
    return Document("expert.html.j2", content, _table(content))


def expert_report(
    run: Run,
    group: int,
    expert: int,
    kind: str,
    out: str | Path,
    *,
    logits: bool = False,
    device: str = "auto",
    dtype: str = "auto",
) -> None:
    """Write the report of one expert.

    Args:
        run: the opened run.
        group: number of the layer group.
        expert: flat id, i * E + j.
        kind: ``html`` (one page with everything), ``json`` (the same as data), ``csv`` or ``parquet`` (one row per
            example; Parquet's metadata holds the rest under ``monet.report``).
        out: the file; an existing one is replaced.
        logits: load the run's model, and tell which tokens the expert promotes and suppresses.
        device, dtype: where that model runs and in which precision, as for ``load_model``.

    Raises:
        NotFoundError: there is no such group or expert, the expert is never active, or the folder of ``out`` or the
            model is missing.
        BadInputError: the format is unknown, or ``out`` cannot be written.
        UnsupportedError: the model is another one than the run's.

    Examples:
        >>> import json
        >>> from workbench import open_run
        >>> from workbench.report import expert_report
        >>> run = open_run("runs/demo")
        >>> strongest = int(run.experts(0)["mass"].idxmax())
        >>> expert_report(run, 0, strongest, "json", "expert.json")
        >>> json.load(open("expert.json"))["expert"]["rank_by_mass"]
        1
    """
    check_kind(kind)
    report = expert_document(run, Expert(group, expert))  # before the model is loaded
    if logits:
        from ..analysis.run_model import load_run_model
        from ..explain.logit_lens import checked_logit_view

        model = load_run_model(run, device=device, dtype=dtype)
        report.content["logits"] = logit_ends(checked_logit_view(run, model, group, expert, LOGITS))
    save(encode(report, kind), out)

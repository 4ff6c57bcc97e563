"""`monet purge`: remove the experts that go with a score, and measure what is left of it and of the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import WorkbenchError
from ...progress import job
from ...store.files import write_json
from ..checks import check_same_model
from ..removal.choose import Ids, removal
from ..removal.heldout import split_documents
from ..removal.losses import document_losses
from ..windows import read_windows
from .cells import check_unit
from .continuations import Prompt, Sampling, sample_texts, score_texts
from .correlate import MIN_DOCUMENTS, correlate_group, scored_documents

if TYPE_CHECKING:
    from monet_model import ExpertEdit, MonetForCausalLM

    from ...corpus.scoring import Scorer
    from ...store import Run

THRESHOLDS = (0.2, 0.1, 0.05)  # the paper's
PROMPTS, PROMPT_TOKENS = 32, 32
RESULT = "purge.json"
KINDS = ("correlated", "random")


@dataclass(frozen=True)
class Purge:
    """What removing correlated experts does: the paper's Table 4, with a control.

    Attributes:
        column, unit: of the scores, as :func:`purge_scores` took them.
        scorer: name of what scored the continuations; None where none were written.
        prompts, sampling: how many prompts were continued, and how.
        chosen, measured: documents that chose experts, and that losses were measured on.
        plain: of the model as it is: loss (nats a predicted token) and, with a scorer, expected_max, probability and
            mean of its continuations (:func:`~workbench.analysis.correlation.continuations.score_texts`).
        points: one row a threshold and kind (``correlated``, or the control ``random``, as many experts drawn from
            those active): threshold, kind, removed (experts, over all groups), share (of all the model's experts), and
            the columns of ``plain``.
        min_documents, seed: as :func:`purge_scores` took them.
    """

    column: str
    unit: str
    scorer: str | None
    prompts: int
    sampling: dict[str, int]
    chosen: int
    measured: int
    plain: dict[str, float]
    points: pd.DataFrame
    min_documents: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: the attributes, points as a list of rows."""
        return self.__dict__ | {"points": self.points.to_dict("records")}


def purge_scores(
    run: Run,
    model: MonetForCausalLM,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    column: str = "score",
    unit: str = "token",
    min_documents: int = MIN_DOCUMENTS,
    scorer: Scorer | None = None,
    prompts: Sequence[Prompt] | None = None,
    sampling: Sampling | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Purge:
    """Removes the experts whose correlation with a score is above each threshold (paper, 5.3 and D.3).

    The documents that have a score are split (:func:`split_documents`): one part chooses,
    by Pearson's correlation over its tokens, as the paper does, or over its documents; on the other, losses are
    measured, and its texts of highest score open the continuations. The result is kept in ``RUN/analysis``, for
    :func:`read_purge`.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        thresholds: correlations above which experts are removed.
        column, unit: as :func:`~workbench.analysis.correlate_scores` takes them.
        min_documents: documents, in the choosing part, that an expert must be active in to be removed.
        scorer: what scores continuations; without one, none are written.
        prompts: token ids of prompts; by default the first :data:`PROMPT_TOKENS` tokens of the :data:`PROMPTS`
            measuring documents of highest score.
        sampling: of continuations.
        seed: of the split and of the control.
        progress: show progress bars.

    Raises:
        WorkbenchError: no thresholds, or one outside 0 .. 1; no scores, or too few to split; another model; a scorer
            and no tokenizer.
    """
    check_unit(unit)
    steps = sorted(set(thresholds), reverse=True)
    if not steps or not (steps[-1] >= 0 and steps[0] < 1):
        raise WorkbenchError(f"thresholds are correlations from 0 to below 1, at least one; got {list(thresholds)}.")
    check_same_model(run, model)
    tokenizer = run.tokenizer()
    if scorer is not None and tokenizer is None:
        raise WorkbenchError(f"{run.path} has no tokenizer, and a scorer reads text.")
    choosing, measuring = _split(run, column, seed)
    found = [_choosing_table(run, group, choosing, unit, progress) for group in run.groups]
    windows, opening = read_windows(run, measuring), _openings(run, measuring) if prompts is None else list(prompts)
    drawing = sampling or Sampling(seed=seed)
    passes = 1 + len(KINDS) * len(steps)
    written = len(opening) * drawing.continuations * drawing.new_tokens if scorer is not None else 0
    points: list[dict[str, Any]] = []
    with job("purge", (windows.predicted + written) * passes, "tokens", progress) as advance:

        def measure(experts: list[Ids]) -> dict[str, float]:
            edits = removal(run.group_layers, experts, run.num_keys)
            losses = document_losses(model, windows, edits, advance)
            result = {"loss": float(losses.loss.sum() / losses.tokens.sum())}
            if scorer is not None and tokenizer is not None:
                result |= score_texts(sample_texts(model, tokenizer, opening, edits, drawing, advance), scorer)
            return result

        plain = measure([np.zeros(0, np.int64)] * len(run.groups))
        for threshold in steps:
            chosen = [_above(table, threshold, min_documents) for table in found]
            rng = np.random.default_rng([seed, len(points)])
            drawn = [
                np.sort(rng.choice(table.index.to_numpy(), len(ids), replace=False))
                for table, ids in zip(found, chosen, strict=True)
            ]
            removed = sum(map(len, chosen))
            share = removed / (len(run.groups) * run.num_keys**2)
            for kind, experts in zip(KINDS, (chosen, drawn), strict=True):
                about = {"threshold": threshold, "kind": kind, "removed": removed, "share": share}
                points.append(about | measure(experts))
    result = Purge(
        column=column,
        unit=unit,
        scorer=None if scorer is None else getattr(scorer, "__name__", type(scorer).__name__),
        prompts=len(opening) if scorer is not None else 0,
        sampling=asdict(drawing),
        chosen=len(choosing),
        measured=len(measuring),
        plain=plain,
        points=pd.DataFrame(points),
        min_documents=min_documents,
        seed=seed,
    )
    write_json(run.analysis_path(RESULT), result.to_json())
    return result


def _split(run: Run, column: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The scored documents that choose, and those that measure."""
    documents = scored_documents(run, column)
    label = documents["label"].map({label: number for number, label in enumerate(run.labels)}).to_numpy()
    measures = split_documents(label, documents["tokens"].to_numpy(), seed)
    parts = documents[~measures], documents[measures]
    if parts[0]["y"].nunique() < 2 or parts[1].empty:
        raise WorkbenchError(f"{run.path} has too few documents with a {column} to choose on some and measure others.")
    return parts[0].reset_index(drop=True), parts[1].reset_index(drop=True)


def _choosing_table(run: Run, group: int, choosing: pd.DataFrame, unit: str, progress: bool) -> pd.DataFrame:
    """Correlations of a group's experts over the choosing documents, in column ``pearson:0``."""
    with job(f"scores of group {group}", int(choosing["tokens"].sum()), "tokens", progress) as advance:
        return correlate_group(run, group, choosing, choosing["y"].to_numpy()[None], unit, advance=advance)


def _above(table: pd.DataFrame, threshold: float, min_documents: int) -> Ids:
    chosen = table[(table["pearson:0"] > threshold) & (table["documents"] >= min_documents)]
    return np.array(chosen.index, np.int64)


def _openings(run: Run, measuring: pd.DataFrame) -> list[Prompt]:
    """The first tokens of the documents of highest score."""
    highest = measuring.sort_values("y", ascending=False, kind="stable").head(PROMPTS)
    return [run.input_ids(int(doc))[:PROMPT_TOKENS] for doc in highest["doc"]]


def purge_edit(
    run: Run,
    model: MonetForCausalLM,
    threshold: float,
    *,
    column: str = "score",
    unit: str = "token",
    min_documents: int = MIN_DOCUMENTS,
    seed: int = 0,
) -> ExpertEdit:
    """The edit that :func:`purge_scores` measures at a threshold, to be kept, published or built into the model.

    Args: as :func:`purge_scores` takes them.
    """
    from monet_model import ExpertEdit

    check_unit(unit)
    choosing, _ = _split(run, column, seed)
    tables = [_choosing_table(run, group, choosing, unit, False) for group in run.groups]
    ids = {
        layer: _above(table, threshold, min_documents).tolist()
        for layer, table in zip(run.group_layers, tables, strict=True)
    }
    return ExpertEdit.from_experts(model, ids)


def read_purge(run: Run) -> Purge | None:
    """The result of the last :func:`purge_scores` of a run; None where there is none."""
    path = run.analysis_path(RESULT)
    if not path.is_file():
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Purge(**stored | {"points": pd.DataFrame(stored["points"])})

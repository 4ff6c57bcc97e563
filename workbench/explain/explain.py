"""Explaining experts of a run: evidence from one part of its documents, scores from the other, kept in the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..analysis.checks import check_same_model
from ..analysis.removal.heldout import HeldOut
from ..analysis.specialisation.analyze_result import read_analysis
from ..analysis.specialisation.shares import MIN_TOKENS
from ..errors import WorkbenchError
from ..progress import job
from .evidence import gather_evidence
from .explainer import Explainer, Template
from .scoring import Trial, make_trial, score_texts
from .stored import SCORES, TASKS, write_explanations

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run
    from .judge import Judge

Experts = Sequence[tuple[int, int]]
RESAMPLES = 2000  # of the bootstrap over experts
FEWEST_SCORED = 2  # experts that a mean with an interval needs
_NOT_SCORED = {"judge": "", "active": 0, "silent": 0} | dict.fromkeys(SCORES, np.nan)


@dataclass(frozen=True)
class Explanations:
    """What :func:`explain_experts` wrote.

    Attributes:
        table: its rows, as :func:`~workbench.explain.read_explanations` gives them, in the order asked for.
        seed: of the means' intervals.
    """

    table: pd.DataFrame
    seed: int

    def means(self) -> dict[str, dict[str, Any]]:
        """For detection and fuzzing, over the experts that have both a score and a control.

        experts (how many), accuracy (mean balanced accuracy), control (the same with another expert's explanation),
        difference, and low and high, the 95 % percentile interval of the mean difference when experts are resampled.
        Empty where fewer than two have.
        """
        found = {}
        for task in TASKS:
            scored = self.table[[task, f"{task}:control"]].dropna()
            if len(scored) < FEWEST_SCORED:
                continue
            difference = (scored[task] - scored[f"{task}:control"]).to_numpy()
            draws = np.random.default_rng(self.seed).integers(len(difference), size=(RESAMPLES, len(difference)))
            low, high = np.percentile(difference[draws].mean(1), [2.5, 97.5])
            found[task] = {
                "experts": len(scored),
                "accuracy": float(scored[task].mean()),
                "control": float(scored[f"{task}:control"].mean()),
                "difference": float(difference.mean()),
                "low": float(low),
                "high": float(high),
            }
        return found

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: the rows, None for what is NaN, and the means."""
        rows = self.table.astype(object).where(self.table.notna(), None)
        return {"explanations": rows.to_dict("records"), "means": self.means()}


def top_experts(run: Run, n: int) -> list[tuple[int, int]]:
    """The ``n`` experts of a run that tell most of the label, by mutual information; largest first.

    Raises:
        WorkbenchError: the run has not been analysed.
    """
    tables = [read_analysis(run, group)[["information"]].assign(group=group).reset_index() for group in run.groups]
    best = pd.concat(tables).sort_values(["information", "group", "expert"], ascending=[False, True, True]).head(n)
    return list(zip(best["group"].tolist(), best["expert"].tolist(), strict=True))


def random_experts(run: Run, n: int, seed: int = 0) -> list[tuple[int, int]]:
    """``n`` experts at random of those active at :data:`MIN_TOKENS` tokens or more."""
    tables = []
    for group in run.groups:
        tokens = run.experts(group)["tokens"]
        ids = tokens.index[tokens >= MIN_TOKENS].to_numpy(np.int64)
        tables.append(np.stack([np.full(len(ids), group), ids], axis=1))
    known = np.concatenate(tables)  # (experts, 2)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(known))[:n])
    return [(group, expert) for group, expert in known[chosen].tolist()]


def explain_experts(
    run: Run,
    experts: Experts,
    explainer: Explainer | None = None,
    *,
    judge: Judge | None = None,
    model: MonetForCausalLM | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Explanations:
    """Explains experts, scores what was said, and keeps both in the run.

    The documents are split once, as for masking (:func:`split_documents`): explainers are
    given what the experts do in three quarters of them, and scores come from passages of the last quarter; documents
    whose routing the run does not keep have no part in either. The control
    gives each expert the explanation of another one of those explained together. Same run, experts and seed: the same
    file, where explainer and judge are deterministic.

    Args:
        run: an opened run.
        experts: pairs (group, flat id), each once.
        explainer: by default the template.
        judge: who scores; None for no scores.
        model: the run's model, for the tokens that experts raise and lower.
        seed: of the split, the passages and the control.
        progress: show a progress bar.

    Raises:
        WorkbenchError: no experts, one twice or one that the run does not have; a label with too few documents to
            split; a judge for a run of ids without text; another model; or an endpoint's failure. What had been
            explained and scored until then is kept.
    """
    explainer = explainer or Template()
    if not experts or len(set(experts)) < len(experts):
        raise WorkbenchError(f"give experts to explain, each once; got {len(experts)}.")
    if judge is not None and run.tokenizer() is None:
        raise WorkbenchError(f"{run.path} holds token ids without text, and explanations are scored on text.")
    if model is not None:
        check_same_model(run, model)
    shown, scored = _split(run, seed)
    rows: list[dict[str, Any]] = []
    trials: list[Trial] = []
    try:
        with job("explain", len(experts), "experts", progress) as advance:
            for group, expert in experts:
                activations = run.activations(group, expert)
                evidence = gather_evidence(run, group, expert, activations, shown, model)
                trials.append(make_trial(run, activations, scored, np.random.default_rng([seed, group, expert])))
                said = {"kind": explainer.kind, "author": explainer.author, "text": explainer.explain(evidence)}
                rows.append({"group": group, "expert": expert, **said, **_NOT_SCORED})
                advance()
        if judge is not None:
            with job("score", len(experts), "experts", progress) as advance:
                for row, trial, other in zip(rows, trials, _others([row["text"] for row in rows], seed), strict=True):
                    row |= _scores(judge, trial, row["text"], other)
                    advance()
    finally:
        if rows:
            write_explanations(run, pd.DataFrame(rows))
    return Explanations(pd.DataFrame(rows), seed)


def _split(run: Run, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(documents,) those that explanations are made from, and those they are scored on; with routing kept, both."""
    documents = HeldOut.split(run, seed).documents
    parts = np.zeros((2, len(run.documents)), bool)
    parts[documents["measures"].to_numpy(np.int64), documents["doc"]] = True
    parts &= run.documents["kept"].to_numpy()
    return parts[0], parts[1]


def _others(texts: list[str], seed: int) -> list[str | None]:
    """For each text, that of another expert: the next in a random round of them all."""
    if len(texts) == 1:
        return [None]
    order = np.random.default_rng(seed).permutation(len(texts))
    others: list[str | None] = [None] * len(texts)
    for here, there in zip(order, np.roll(order, 1), strict=True):
        others[here] = texts[there]
    return others


def _scores(judge: Judge, trial: Trial, text: str, other: str | None) -> dict[str, Any]:
    """The columns that a judge fills."""
    own, *controls = score_texts(judge, trial, [text] if other is None else [text, other])
    columns: dict[str, Any] = {"judge": judge.name, "active": len(trial.active), "silent": len(trial.silent)}
    for at, (task, score) in enumerate(zip(TASKS, own, strict=True)):
        columns |= {task: score.accuracy, f"{task}:low": score.low, f"{task}:high": score.high}
        if controls:
            columns[f"{task}:control"] = controls[0][at].accuracy
    return columns

"""Explaining experts of a run: evidence from one part of its documents, scores from the other, kept in the run.

1. Split the documents as for masking: about three quarters explain, one quarter scores.
2. For each expert, gather evidence from the first part (evidence.py) and let an explainer write a sentence.
3. Let a judge score the sentence by detection and fuzzing on passages of the second part (scoring.py), along with a
   control: the explanation of another expert.
4. Store sentences and scores in the run (stored.py).

Detection and fuzzing: Paulo et al. 2024 (https://arxiv.org/abs/2410.13928), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import deprecated

from ..analysis.checks import check_same_model
from ..analysis.defaults import MIN_TOKENS
from ..analysis.removal.heldout import HeldOut
from ..analysis.specialisation.analyze_result import read_analysis
from ..errors import BadInputError, UnsupportedError
from ..progress import job
from ..store.address import Expert
from .evidence import gather_evidence
from .explainer import Explainer, Template
from .scoring import Trial, make_trial, score_explanations
from .stored import MEASURED, SCORES, TASKS, with_former_names, write_explanations

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run
    from .judge import Judge

T = TypeVar("T")

BOOTSTRAP_SAMPLES = 2000  # over experts
MIN_SCORED = 2  # experts that a mean with an interval needs
NOT_SCORED: dict[str, Any] = {"judge": "", "active": 0, "negatives": 0} | dict.fromkeys([*SCORES, *MEASURED], np.nan)


@dataclass(frozen=True)
class Explanations:
    """The result of ``explain_experts``.

    Attributes:
        table: one row per expert, in the order asked for; columns of ``read_explanations``.
        seed: of the split, and of the intervals of ``means``.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.explain import explain_experts, sample_experts
        >>> run = open_run("runs/demo")
        >>> explained = explain_experts(run, sample_experts(run, 2))
        >>> explained.table["author"].tolist(), explained.means()  # no judge, no scores
        (['monet', 'monet'], {})
    """

    table: pd.DataFrame
    seed: int

    def means(self) -> dict[str, dict[str, Any]]:
        """Return mean detection and fuzzing scores, over the experts that have both a score and a control.

        Returns:
            ``detection`` and ``fuzzing`` (absent where fewer than two experts have both) ->

            - experts: how many.
            - accuracy: mean balanced accuracy.
            - control: the same with another expert's explanation.
            - difference: mean of accuracy minus control.
            - low, high: its 95 % CI (percentile bootstrap over experts).
        """
        means = {}
        for task in TASKS:
            scored = self.table[[task, f"{task}:control"]].dropna()
            if len(scored) < MIN_SCORED:
                continue
            difference = (scored[task] - scored[f"{task}:control"]).to_numpy()
            count = len(difference)
            draws = np.random.default_rng(self.seed).integers(count, size=(BOOTSTRAP_SAMPLES, count))
            low, high = np.percentile(difference[draws].mean(1), [2.5, 97.5])
            means[task] = {
                "experts": len(scored),
                "accuracy": float(scored[task].mean()),
                "control": float(scored[f"{task}:control"].mean()),
                "difference": float(difference.mean()),
                "low": float(low),
                "high": float(high),
            }
        return means

    def to_json(self) -> dict[str, Any]:
        """The rows, with None for NaN, and the means, ready for JSON."""
        rows = self.table.astype(object).where(self.table.notna(), None)
        return {"explanations": rows.to_dict("records"), "means": self.means()}


def most_informative_experts(run: Run, n: int) -> list[Expert]:
    """Return the ``n`` experts whose activity tells most about the label, by mutual information; largest first.

    Args:
        run: an opened, analysed run.
        n: how many, over all groups.

    Raises:
        NotAnalysedError: the run has not been analysed.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import read_analysis
        >>> from workbench.explain import most_informative_experts
        >>> run = open_run("runs/demo")
        >>> best, second = most_informative_experts(run, 2)
        >>> nats = [read_analysis(run, e.group).loc[e.id, "information"] for e in (best, second)]
        >>> bool(nats[0] >= nats[1])
        True
    """
    tables = [read_analysis(run, group)[["information"]].assign(group=group).reset_index() for group in run.groups]
    best = pd.concat(tables).sort_values(["information", "group", "expert"], ascending=[False, True, True]).head(n)
    return [Expert(int(group), int(expert)) for group, expert in zip(best["group"], best["expert"], strict=True)]


def sample_experts(run: Run, n: int, seed: int = 0) -> list[Expert]:
    """Return ``n`` random experts of those active at ``MIN_TOKENS`` tokens or more, sorted.

    Args:
        run: an opened run.
        n: how many, over all groups; fewer where the run has fewer.
        seed: of the sample.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.explain import sample_experts
        >>> run = open_run("runs/demo")
        >>> experts = sample_experts(run, 3, seed=1)
        >>> [int(run.experts(group).loc[expert, "tokens"]) >= 10 for group, expert in experts]
        [True, True, True]
    """
    tables = []
    for group in run.groups:
        tokens = run.experts(group)["tokens"]
        ids = tokens.index[tokens >= MIN_TOKENS].to_numpy(np.int64)
        tables.append(np.stack([np.full(len(ids), group), ids], axis=1))
    known = np.concatenate(tables)  # (experts, 2)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(known))[:n])
    return [Expert(group, expert) for group, expert in known[chosen].tolist()]


@deprecated("use most_informative_experts, which says by what")
def top_experts(run: Run, n: int) -> list[Expert]:
    """Former name of ``most_informative_experts``."""
    return most_informative_experts(run, n)


@deprecated("use sample_experts")
def random_experts(run: Run, n: int, seed: int = 0) -> list[Expert]:
    """Former name of ``sample_experts``."""
    return sample_experts(run, n, seed)


def explain_experts(
    run: Run,
    experts: Sequence[tuple[int, int]],
    explainer: Explainer | None = None,
    *,
    judge: Judge | None = None,
    model: MonetForCausalLM | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Explanations:
    """Explain experts, score the explanations, and store both in the run.

    Documents are split once, as for masking: explainers see what the experts do in about three quarters of them, and
    scores come from passages of the rest. Documents whose routing the run does not keep are in neither part. The
    control scores each expert by the explanation of another expert in the same call. The same run, experts and seed
    give the same file, with a deterministic explainer and judge.

    Args:
        run: an opened run.
        experts: pairs (group, flat expert id), each once.
        explainer: what writes the sentences. Default: ``Template``.
        judge: what scores them. Default: no scores.
        model: the run's model, for promoted and suppressed tokens. Default: these are left out.
        seed: of the split, the passages and the control.
        progress: show a progress bar.

    Returns:
        ``Explanations``, with one row per expert.

    Raises:
        BadInputError: no experts, one twice, or a label with too few documents to split.
        NotFoundError: the run has no such group or expert.
        UnsupportedError: a judge for a run of token ids without text, another model than the run's, or an endpoint
            that fails. What was explained and scored until then is kept.

    Source: Paulo et al. 2024, arXiv 2410.13928, section 3 (detection and fuzzing).

    Examples:
        >>> from workbench import open_run
        >>> from workbench.explain import explain_experts, most_informative_experts, read_explanations
        >>> run = open_run("runs/demo")
        >>> explained = explain_experts(run, most_informative_experts(run, 2))
        >>> len(explained.table), explained.table["kind"].tolist()
        (2, ['template', 'template'])
        >>> group, expert = explained.table.loc[0, ["group", "expert"]]
        >>> bool(explained.table["text"][0] in read_explanations(run, group, expert)["text"].tolist())
        True
    """
    explainer = explainer or Template()
    if not experts or len(set(experts)) < len(experts):
        raise BadInputError(f"give experts to explain, each once; got {len(experts)}.")
    chosen = [Expert(run.check_group(group), run.check_expert(expert)) for group, expert in experts]
    if judge is not None and run.tokenizer() is None:
        raise UnsupportedError(f"{run.path} holds token ids without text, and explanations are scored on text.")
    if model is not None:
        check_same_model(run, model)
    shown, scored = split_in_two(run, seed)
    rows: list[dict[str, Any]] = []
    trials: list[Trial] = []
    try:
        with job("explain", len(chosen), "experts", progress) as advance:
            for expert in chosen:
                activations = run.activations(*expert)
                evidence = gather_evidence(run, *expert, activations, shown, model)
                trials.append(make_trial(run, activations, scored, np.random.default_rng([seed, *expert])))
                sentence = {"kind": explainer.kind, "author": explainer.author, "text": explainer.explain(evidence)}
                rows.append({"group": expert.group, "expert": expert.id, **sentence, **NOT_SCORED})
                advance()
        if judge is not None:
            with job("score", len(chosen), "experts", progress) as advance:
                controls = controls_of([row["text"] for row in rows], seed)
                for row, trial, control in zip(rows, trials, controls, strict=True):
                    row |= _scores(judge, trial, row["text"], control)
                    advance()
    finally:
        if rows:
            write_explanations(run, pd.DataFrame(rows))
    return Explanations(with_former_names(pd.DataFrame(rows)), seed)


def split_in_two(run: Run, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(documents,) those that explanations are made from, and those they are scored on; both with routing kept."""
    documents = HeldOut.split(run, seed).documents
    parts = np.zeros((2, len(run.documents)), bool)
    parts[documents["measures"].to_numpy(np.int64), documents["doc"]] = True
    parts &= run.documents["kept"].to_numpy()
    return parts[0], parts[1]


def controls_of(texts: Sequence[T], seed: int) -> list[T | None]:
    """For each text, another expert's: the next in a random cycle through all of them. None for a single text."""
    if len(texts) == 1:
        return [None]
    order = np.random.default_rng(seed).permutation(len(texts))
    controls: list[T | None] = [None] * len(texts)
    for own, other in zip(order, np.roll(order, 1), strict=True):
        controls[own] = texts[other]
    return controls


def _scores(judge: Judge, trial: Trial, text: str, control: str | None) -> dict[str, Any]:
    """The columns that a judge fills."""
    own, *others = score_explanations(judge, trial, [text] if control is None else [text, control])
    columns: dict[str, Any] = {"judge": judge.name, "active": len(trial.active), "negatives": len(trial.negatives)}
    for at, (task, score) in enumerate(zip(TASKS, own, strict=True)):
        columns |= {task: score.accuracy, f"{task}:low": score.low, f"{task}:high": score.high}
        if others:
            columns[f"{task}:control"] = others[0][at].accuracy
    return columns

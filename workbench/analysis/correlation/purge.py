"""Removing the experts that correlate with a per-document score, and measuring what that does (paper, Table 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import BadInputError, UnsupportedError
from ...progress import job
from ..checks import check_same_model
from ..removal.choose import Ids, removal
from ..removal.losses import document_losses
from ..results import write_result
from ..units import document_units, split_documents
from ..windows import read_windows
from ..work import Passes, digest, kept_passes
from .cells import check_unit
from .continuations import Prompt, Sampling, continuation_scores, sample_texts
from .correlate import GroupCorrelations, ScoredDocuments, correlate_groups, scored_documents
from .defaults import COLUMN, MIN_DOCUMENTS, PURGE_UNIT, THRESHOLDS
from .purge_result import Purge

if TYPE_CHECKING:
    from monet_model import ExpertEdit, MonetForCausalLM

    from ...corpus.scoring import Scorer
    from ...store import Run

PROMPTS, PROMPT_TOKENS = 32, 32
KINDS = ("correlated", "random")


def purge_scores(
    run: Run,
    model: MonetForCausalLM,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    column: str = COLUMN,
    unit: str = PURGE_UNIT,
    min_documents: int = MIN_DOCUMENTS,
    scorer: Scorer | None = None,
    prompts: Sequence[Prompt] | None = None,
    sampling: Sampling | None = None,
    seed: int = 0,
    name: str | None = None,
    sample: int | None = None,
    progress: bool = False,
    resume: bool = False,
) -> Purge:
    """Remove the experts whose correlation with a score exceeds each threshold, and measure the effect.

    As in the paper (5.3, D.3), with the documents that choose kept apart from those that measure: the scored documents
    are split; experts are chosen on one part by Pearson's correlation, over its tokens as in the paper or over its
    documents; on the other part the loss is measured, and its texts of highest score give the prompts that are
    continued. As many random active experts are removed as a control.

    Written to ``RUN/analysis``: ``purge.json``, which ``read_purge`` reads. Until then, what finished passes measured
    lies in ``purge.state`` beside it, for ``resume``.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        thresholds: correlations above which experts are removed, each from 0 to below 1.
        column: column of ``run.documents``: the corpus's ``score``, or another number.
        unit: what one observation is: ``token``, or ``mean`` or ``max`` over a document.
        min_documents: documents of the choosing part that an expert must be active in to be removed.
        scorer: classifier that scores continuations; without one, none are generated.
        prompts: token ids of each prompt; by default the first 32 tokens of the 32 measuring documents of highest
            score.
        sampling: how continuations are drawn; by default 25 of 20 tokens per prompt.
        seed: of the split, the control and, by default, the continuations.
        name: keep the result under this name, beside the unnamed one, which otherwise it replaces.
        sample: read so many documents for each label, drawn at random, and not all; of each label in proportion to its
            documents.
        progress: show progress bars.
        resume: go on from the passes that an interrupted analysis of the same run and settings has finished. Experts
            are chosen anew, by the same correlations.

    Raises:
        BadInputError: there are no thresholds, one is out of range, or too few documents have a score to be split; what
            is to be resumed has other settings.
        UnsupportedError: the model is not the run's, or there is a scorer, but the run has no tokenizer.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from workbench import open_run
        >>> from workbench.analysis import purge_scores
        >>> run = open_run("runs/demo")  # its texts have no score, but each has a length
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo").eval()
        >>> purge = purge_scores(run, model, thresholds=[0.5], column="tokens", name="by-length")
        >>> purge.points[["threshold", "kind"]].values.tolist()
        [[0.5, 'correlated'], [0.5, 'random']]
        >>> list(purge.plain)  # in nats per token; with a scorer, scores of continuations too
        ['loss']
    """
    check_unit(unit)
    steps = sorted(set(thresholds), reverse=True)
    if not steps or not (steps[-1] >= 0 and steps[0] < 1):
        raise BadInputError(f"thresholds: give at least one correlation from 0 to below 1; got {list(thresholds)}.")
    check_same_model(run, model)
    if sample is not None:
        run = run.sample(sample, seed, by_size=True)
    tokenizer = run.tokenizer()
    if scorer is not None and tokenizer is None:
        raise UnsupportedError(f"{run.path} has no tokenizer, which a scorer of texts needs.")
    choosing, measuring = _split(run, column, seed)
    tables = _choosing_correlations(run, choosing, unit, progress)
    windows = read_windows(run, measuring.table)
    opening = _openings(run, measuring) if prompts is None else list(prompts)
    drawing = sampling or Sampling(seed=seed)
    chosen_at = [[_above(table, threshold, min_documents) for table in tables] for threshold in steps]
    scored_by = None if scorer is None else getattr(scorer, "__name__", type(scorer).__name__)
    settings = {"column": column, "unit": unit, "thresholds": steps, "min_documents": min_documents, "seed": seed}
    settings |= {"scorer": scored_by, "sampling": asdict(drawing), "prompts": digest(map(np.asarray, opening))}
    settings["experts"] = digest(ids for chosen in chosen_at for ids in chosen)
    state = kept_passes(run, Purge, name, model, settings, resume=resume)
    count = 1 + len(KINDS) * len(steps)
    generated = len(opening) * drawing.continuations * drawing.new_tokens if scorer is not None else 0
    points: list[dict[str, Any]] = []
    with job("purge", (windows.predicted + generated) * count, "tokens", progress) as advance:
        passes = Passes(state, windows.predicted + generated, advance)

        def measure(experts: list[Ids]) -> dict[str, float]:
            found = passes(lambda: {name: np.array(value) for name, value in measured(experts).items()})
            return {name: float(value) for name, value in found.items()}

        def measured(experts: list[Ids]) -> dict[str, float]:
            edits = removal(run.group_layers, experts, run.num_keys)
            losses = document_losses(model, windows, edits, advance)
            result = {"loss": float(losses.loss.sum() / losses.tokens.sum())}
            if scorer is not None and tokenizer is not None:
                result |= continuation_scores(sample_texts(model, tokenizer, opening, edits, drawing, advance), scorer)
            return result

        plain = measure([np.zeros(0, np.int64)] * len(run.groups))
        for threshold, chosen in zip(steps, chosen_at, strict=True):
            rng = np.random.default_rng([seed, len(points)])
            drawn = [
                np.sort(rng.choice(table.expert, len(ids), replace=False))
                for table, ids in zip(tables, chosen, strict=True)
            ]
            removed = sum(map(len, chosen))
            share = removed / (len(run.groups) * run.num_keys**2)
            for kind, experts in zip(KINDS, (chosen, drawn), strict=True):
                about = {"threshold": threshold, "kind": kind, "removed": removed, "share": share}
                points.append(about | measure(experts))
    result = Purge(
        column=column,
        unit=unit,
        scorer=scored_by,
        prompts=len(opening) if scorer is not None else 0,
        sampling=asdict(drawing),
        chosen=len(choosing.table),
        measured=len(measuring.table),
        plain=plain,
        points=pd.DataFrame(points),
        min_documents=min_documents,
        seed=seed,
    )
    write_result(run, result, name)
    if state is not None:
        state.remove()
    return result


def _split(run: Run, column: str, seed: int) -> tuple[ScoredDocuments, ScoredDocuments]:
    """The scored documents that choose, and those that measure."""
    documents = scored_documents(run, column)
    label = np.array([run.check_label(label) for label in documents.table["label"]])
    measures = split_documents(label, documents.table["tokens"].to_numpy(), seed, document_units(documents.table))
    choosing, measuring = (
        ScoredDocuments(documents.table[part].reset_index(drop=True), documents.scores[part])
        for part in (~measures, measures)
    )
    if len(np.unique(choosing.scores)) < 2 or not len(measuring.scores):
        raise BadInputError(
            f"{run.path} has too few documents with a {column} to choose experts on some and measure on others; export "
            "more scored texts."
        )
    return choosing, measuring


def _choosing_correlations(run: Run, choosing: ScoredDocuments, unit: str, progress: bool) -> list[GroupCorrelations]:
    """Correlations of each group's experts over the choosing documents; the only target is the score."""
    found = correlate_groups(run, choosing.table, choosing.scores[None], unit, progress=progress)
    return [correlations for _, correlations in found]


def _above(correlations: GroupCorrelations, threshold: float, min_documents: int) -> Ids:
    """Experts whose correlation exceeds the threshold."""
    return correlations.expert[(correlations.pearson[0] > threshold) & (correlations.documents >= min_documents)]


def _openings(run: Run, measuring: ScoredDocuments) -> list[Prompt]:
    """The first tokens of the documents of highest score."""
    highest = np.argsort(-measuring.scores, kind="stable")[:PROMPTS]
    return [run.input_ids(int(doc))[:PROMPT_TOKENS] for doc in measuring.table["doc"].iloc[highest]]


def purge_edit(
    run: Run,
    model: MonetForCausalLM,
    threshold: float,
    *,
    column: str = COLUMN,
    unit: str = PURGE_UNIT,
    min_documents: int = MIN_DOCUMENTS,
    seed: int = 0,
) -> ExpertEdit:
    """Return the edit that ``purge_scores`` measures at a threshold.

    It leads from a purge to a model: save it for ``monet report --edit``, or build it into a checkpoint with
    ``monet export-model``.

    Args:
        run: an opened run.
        model: the model it was exported from.
        threshold: correlation above which experts are removed.
        column: as for ``purge_scores``.
        unit: as for ``purge_scores``.
        min_documents: as for ``purge_scores``.
        seed: as for ``purge_scores``.

    Raises:
        BadInputError: too few documents have a score, or the unit is unknown.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from workbench import open_run
        >>> from workbench.analysis import purge_edit
        >>> run = open_run("runs/demo")  # its texts have no score, but each has a length
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo").eval()
        >>> strict = purge_edit(run, model, 0.5, column="tokens")
        >>> lenient = purge_edit(run, model, 0.3, column="tokens")
        >>> len(strict) <= len(lenient)  # experts removed
        True
        >>> strict.save("less-length.json")
    """
    from monet_model import ExpertEdit

    check_unit(unit)
    choosing, _ = _split(run, column, seed)
    tables = _choosing_correlations(run, choosing, unit, False)
    ids = {
        layer: _above(table, threshold, min_documents).tolist()
        for layer, table in zip(run.group_layers, tables, strict=True)
    }
    return ExpertEdit.from_experts(model, ids)

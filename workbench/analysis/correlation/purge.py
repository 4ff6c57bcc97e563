"""Removing the experts that correlate with a per-document score, and measuring what that does (paper, Table 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import BadInputError, UnsupportedError
from ...progress import job
from ..checks import check_same_model
from ..removal.choose import Ids, equally_active, removal
from ..removal.losses import document_losses
from ..results import write_result
from ..sums import LEFT_OUT, read_label_sums
from ..units import document_units, split_documents
from ..windows import read_windows
from ..work import Arrays, Passes, digest, kept_passes
from .cells import check_unit
from .continuations import Prompt, Sampling, continuation_scores, prompt_batches, sample_texts
from .correlate import GroupCorrelations, ScoredDocuments, correlate_groups, scored_documents
from .defaults import COLUMN, MIN_DOCUMENTS, PROMPTS, PURGE_UNIT, THRESHOLDS
from .purge_result import OTHER_COLUMNS, PLAIN, TOXICITY_COLUMNS, Purge
from .toxicity import PROMPT_TOKENS, draw_prompts, mean_measures, measures_by_toxicity, toxic_prompts

if TYPE_CHECKING:
    from monet_model import ExpertEdit, MonetForCausalLM

    from ...corpus.scoring import Scorer
    from ...store import Run

KINDS = ("correlated", "random", "equally active")


def purge_scores(
    run: Run,
    model: MonetForCausalLM,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    column: str = COLUMN,
    unit: str = PURGE_UNIT,
    min_documents: int = MIN_DOCUMENTS,
    scorer: Scorer | None = None,
    prompts: int | Sequence[Prompt] = PROMPTS,
    sampling: Sampling | None = None,
    seed: int = 0,
    name: str | None = None,
    sample: int | None = None,
    progress: bool = False,
    resume: bool = False,
) -> Purge:
    """Remove the experts whose correlation with a score exceeds each threshold, and measure the effect.

    As in the paper (5.3, D.3), with the documents that choose kept apart from those that measure: the scored documents
    are split in halves; experts are chosen on one by Pearson's correlation, over its tokens as in the paper or over its
    documents; on the other the loss is measured, and the openings of its texts are the prompts that are continued.
    Documents without a score take no part in the choice; the loss on them, label by label, says what else is lost. As
    controls, as many random active experts are removed, and as many that are about as active.

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
        prompts: how many measuring documents to continue after their first 32 tokens: drawn at random, half of them
            toxic (a score of 0.5 or more by ``scorer``) where there are as many. Or the token ids of each prompt.
        sampling: how continuations are drawn; by default 25 of 20 tokens per prompt.
        seed: of the split, the prompts, the controls and, by default, the continuations.
        name: keep the result under this name, beside the unnamed one, which otherwise it replaces.
        sample: read so many documents for each label, drawn at random, and not all; of each label in proportion to its
            documents.
        progress: show progress bars.
        resume: go on from the passes and the batches of prompts that an interrupted analysis of the same run and
            settings has finished. Experts are chosen anew, by the same correlations.

    Raises:
        BadInputError: there are no thresholds, one is out of range, there are no prompts, or too few documents have a
            score to be split; what is to be resumed has other settings.
        UnsupportedError: the model is not the run's, or there is a scorer, but the run has no tokenizer.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from workbench import open_run
        >>> from workbench.analysis import purge_scores
        >>> run = open_run("runs/demo")  # its texts have no score, but each has a length
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo").eval()
        >>> purge = purge_scores(run, model, thresholds=[0.5], column="tokens", name="by-length")
        >>> purge.points[["threshold", "kind"]].values.tolist()
        [[0.5, 'correlated'], [0.5, 'random'], [0.5, 'equally active']]
        >>> list(purge.plain)  # in nats per token; with a scorer, scores of continuations too
        ['loss']
    """
    check_unit(unit)
    steps = sorted(set(thresholds), reverse=True)
    if not steps or not (steps[-1] >= 0 and steps[0] < 1):
        raise BadInputError(f"thresholds: give at least one correlation from 0 to below 1; got {list(thresholds)}.")
    if isinstance(prompts, int) and prompts < 1:
        raise BadInputError(f"prompts: at least one is continued; got {prompts}.")
    check_same_model(run, model)
    if sample is not None:
        run = run.sample(sample, seed, by_size=True)
    tokenizer = run.tokenizer()
    if scorer is not None and tokenizer is None:
        raise UnsupportedError(f"{run.path} has no tokenizer, which a scorer of texts needs.")
    choosing, measuring = _split(run, column, seed)
    tables = _choosing_correlations(run, choosing, unit, progress)
    chosen_at = [[_above(table, threshold, min_documents) for table in tables] for threshold in steps]
    drawing = sampling or Sampling(seed=seed)
    opening: list[Prompt] = []
    toxic = np.zeros(0, bool)
    if scorer is not None and tokenizer is not None:
        opening = _openings(run, measuring) if isinstance(prompts, int) else list(prompts)
        toxic = toxic_prompts(opening, tokenizer, scorer)
        if isinstance(prompts, int):
            taken = draw_prompts(toxic, prompts, seed)
            opening, toxic = [opening[number] for number in taken], toxic[taken]
    batches = prompt_batches(opening, drawing)
    other = run.documents[(run.documents["tokens"] > 0) & ~np.isfinite(run.documents[column].to_numpy(np.float64))]
    labels, label_of = np.unique(other["label"].to_numpy(str), return_inverse=True)
    windows, other_windows = read_windows(run, measuring.table), read_windows(run, other)
    scored_by = None if scorer is None else getattr(scorer, "__name__", type(scorer).__name__)
    settings = {"column": column, "unit": unit, "thresholds": steps, "min_documents": min_documents, "seed": seed}
    settings |= {"scorer": scored_by, "sampling": asdict(drawing), "prompts": digest(map(np.asarray, opening))}
    settings["experts"] = digest(ids for chosen in chosen_at for ids in chosen)
    removed_at = _with_controls(run, choosing, tables, chosen_at, seed, progress)
    state = kept_passes(run, Purge, name, model, settings, resume=resume)
    read = windows.predicted + other_windows.predicted
    per_prompt = drawing.continuations * drawing.new_tokens
    points: list[dict[str, Any]] = []
    by_toxicity: list[dict[str, Any]] = []
    other_text: list[dict[str, Any]] = []
    plain_highest = np.zeros(0)
    total = (read + len(opening) * per_prompt) * (1 + sum(map(len, removed_at)))
    with job("purge", total, "tokens", progress) as advance:
        passes = Passes(state, read, advance)

        def measure(experts: list[Ids], about: dict[str, Any]) -> tuple[dict[str, float], Arrays]:
            edits = removal(run.group_layers, experts, run.num_keys)

            def losses() -> Arrays:
                scored = document_losses(model, windows, edits, advance)
                found: Arrays = {"loss": np.array(scored.loss.sum() / scored.tokens.sum())}
                if len(labels):
                    found["other"] = document_losses(model, other_windows, edits, advance).mean_loss(label_of)
                return found

            found = passes(losses)
            other_text.extend(
                about | {"label": str(label), "loss": float(loss)}
                for label, loss in zip(labels, found.get("other", ()), strict=True)
            )
            result = {"loss": float(found["loss"])}
            scores = {"highest": np.zeros(len(opening)), "mean": np.zeros(len(opening))}
            if scorer is None or tokenizer is None:
                return result, scores
            for numbers in batches:
                some = {number: opening[number] for number in numbers}
                continued = partial(_continued, scorer, model, tokenizer, some, edits, drawing, advance)
                for of_prompt, values in passes(continued, len(numbers) * per_prompt).items():
                    scores[of_prompt][numbers] = values
            return result | mean_measures(**scores), scores

        about: dict[str, Any] = {"threshold": np.nan, "kind": PLAIN}
        plain, scores = measure([np.zeros(0, np.int64)] * len(run.groups), about)
        plain_highest = scores["highest"]
        by_toxicity += [about | row for row in measures_by_toxicity(plain_highest, plain_highest, toxic, seed)]
        for threshold, removed in zip(steps, removed_at, strict=True):
            for kind, experts in removed.items():
                about = {"threshold": threshold, "kind": kind}
                measured, scores = measure(experts, about)
                count = sum(map(len, experts))
                share = count / (len(run.groups) * run.num_keys**2)
                points.append(about | {"removed": count, "share": share} | measured)
                by_toxicity += [
                    about | row for row in measures_by_toxicity(scores["highest"], plain_highest, toxic, seed)
                ]
    result = Purge(
        column=column,
        unit=unit,
        scorer=scored_by,
        prompts=len(opening),
        sampling=asdict(drawing),
        chosen=len(choosing.table),
        measured=len(measuring.table),
        plain=plain,
        points=pd.DataFrame(points),
        min_documents=min_documents,
        seed=seed,
        by_toxicity=pd.DataFrame(by_toxicity, columns=list(TOXICITY_COLUMNS)),
        other_text=pd.DataFrame(other_text, columns=list(OTHER_COLUMNS)),
    )
    write_result(run, result, name)
    if state is not None:
        state.remove()
    return result


def _continued(scorer: Scorer, *sampled: Any) -> Arrays:
    """Scores of the continuations that ``sample_texts`` draws, by prompt."""
    return continuation_scores(sample_texts(*sampled), scorer)


def _split(run: Run, column: str, seed: int) -> tuple[ScoredDocuments, ScoredDocuments]:
    """The scored documents that choose, and those that measure."""
    documents = scored_documents(run, column)
    label = np.array([run.check_label(label) for label in documents.table["label"]])
    tokens, units = documents.table["tokens"].to_numpy(), document_units(documents.table)
    measures = split_documents(label, tokens, seed, units, choosing_tokens=1)  # intervals are over measuring prompts
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


def _with_controls(
    run: Run,
    choosing: ScoredDocuments,
    tables: list[GroupCorrelations],
    chosen_at: list[list[Ids]],
    seed: int,
    progress: bool,
) -> list[dict[str, list[Ids]]]:
    """For each threshold, what is removed of each group, by kind."""
    number = np.full(len(run.documents), LEFT_OUT)
    number[run.documents["doc"].isin(choosing.table["doc"]).to_numpy()] = 0
    removed: list[dict[str, list[Ids]]] = [{kind: [] for kind in KINDS} for _ in chosen_at]
    rng = np.random.default_rng(seed)
    for group, sums in read_label_sums(run, run.groups, number, 1, "activity", progress):
        place = list(run.groups).index(group)
        for of_step, chosen in zip(removed, chosen_at, strict=True):
            ids = chosen[place]
            of_step["correlated"].append(ids)
            of_step["random"].append(np.sort(rng.choice(tables[place].expert, len(ids), replace=False)))
            of_step["equally active"].append(equally_active(sums, ids, rng))
    return removed


def _openings(run: Run, measuring: ScoredDocuments) -> list[Prompt]:
    """The first tokens of every document."""
    return [run.input_ids(int(doc))[:PROMPT_TOKENS] for doc in measuring.table["doc"]]


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

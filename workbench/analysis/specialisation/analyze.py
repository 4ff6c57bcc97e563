"""`monet analyze`: the label each expert is specialised in, and scores of how pure it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Unpack

import numpy as np
import pandas as pd

from ..checks import check_labels, check_rule, check_same_model
from ..defaults import FDR, MIN_TOKENS, PERMUTATIONS, RATIO
from ..results import check_name, write_result
from ..token_keys import count_token_keys
from ..work import Arrays, Computing, How, State, computing, run_tasks
from .analyze_result import NO_LABEL, Settings, Summary, write_analysis
from .evidence import HALVES, PRECISION, Evidence
from .interest import interest
from .label_null import label_scores
from .p_values import GroupEvidence, add_verdicts, context_evidence
from .precision import Precision
from .replication_result import Replication
from .scores import ContextScore, Embeddings, scores_of_kind
from .shares import label_shares, specialised_label

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run

DERIVED_AT_ONCE = 16384  # experts: bounds memory


def analyze_run(
    run: Run,
    *,
    ratio: float = RATIO,
    min_tokens: int = MIN_TOKENS,
    permutations: int = PERMUTATIONS,
    fdr: float = FDR,
    seed: int = 0,
    model: MonetForCausalLM | None = None,
    encoder: bool = False,
    name: str | None = None,
    sample: int | None = None,
    progress: bool = False,
    **how: Unpack[How],
) -> Summary:
    """Score every expert of a run and find those specialised in a label.

    An expert is specialised in a label if its share there is at least ``ratio`` times its second share and it was
    active at ``min_tokens`` tokens or more (Monet paper, section 5.1; ``specialised_label``). It is confirmed if
    labels shuffled among documents do not give such a ratio, at a false discovery rate of ``fdr`` over its group. How
    many experts have the same label on disjoint halves of the documents is counted too (``replication``). The scores
    are those in ``SCORES``.

    Args:
        run: an opened run.
        ratio: first share over second share, at least 1.
        min_tokens: active tokens that an expert needs to be called specialised, and to be tested.
        permutations: of the labels; 0 for no tests at all. No p-value is below 1 / (permutations + 1), so where few
            experts are specialised, verdicts need more of them.
        fdr: false discovery rate, between 0 and 1.
        seed: of everything random, the sample included.
        model: the run's model in evaluation mode, for ``coherence:residual``; None leaves that score out.
        encoder: also compute ``coherence:encoder``; needs the run's texts and the package of the sentence encoder.
        name: keep the analysis under this name, beside the unnamed one.
        sample: read the routing of so many documents of each label, drawn at random, and not of all. Labels and scores
            that rest on statistics stay those of all documents; tests, replication and vocabulary entropy are of the
            sample, which the result states, with the precision that it gives (``Precision``).
        progress: show progress bars.
        how: ``resume``, ``ray`` and ``workers``, as ``workbench.analysis.work.How`` describes them. Blocks of experts
            are computed by as many threads as torch has (`OMP_NUM_THREADS`); the result is the same with any number.

    Returns:
        The counts of specialised and confirmed experts, and how well they replicate. Sets in the run:

        - ``RUN/analysis/experts-group-{group}.parquet``: one row per expert; ``read_analysis`` reads it;
        - ``RUN/analysis/experts.json``: the summary; ``read_analysis_summary`` reads it;
        - ``RUN/analysis/token-keys-group-{group}.parquet``: what makes searches of firing experts fast, the same for
          every name; none in a run that keeps the routing of some documents only, or with a sample.

        With a name, the first two lie in ``RUN/analysis/NAME``. An earlier analysis of the same name is replaced. Until
        then, what is computed lies in ``experts.state`` beside them, for ``resume``.

    Raises:
        BadInputError: a setting is out of range, or the run has fewer than two labels.
        UnsupportedError: the model is not the run's, or the encoder cannot be used.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import analyze_run, read_analysis
        >>> run = open_run("runs/demo")
        >>> summary = analyze_run(run, ratio=5, permutations=0, name="example")
        >>> summary.specialised.shape == (len(run.groups), len(run.labels))
        True
        >>> strict, usual = (read_analysis(run, 0, name) for name in ("example", None))
        >>> bool((strict["specialised"] != "").sum() < (usual["specialised"] != "").sum())
        True
    """
    check_rule(ratio, min_tokens)
    settings = Settings(ratio, min_tokens, permutations, fdr, seed)
    if name is not None:
        check_name(name)
    check_labels(run)
    if sample is not None:
        run = run.sample(sample, seed)
    views = _embeddings(run, model, encoder, progress)
    state = State(run, Summary, name, asdict(settings), how.get("resume", False))
    routing, replicated, precision = _read(run, settings, state, progress, computing(how))
    seen, specialised, confirmed, tables = {}, {}, {}, {}
    for group in run.groups:
        tables[group] = table = _analyze_group(run, group, settings, views, routing.pop(group), progress)
        seen[group] = len(table)
        specialised[group] = _count(table, run.labels)
        if permutations:
            confirmed[group] = _count(table[table["confirmed"]], run.labels)
    summary = Summary(
        settings=settings,
        seen=seen,
        specialised=_by_group(specialised),
        confirmed=_by_group(confirmed) if permutations else None,
        replication=replicated,
        precision=precision,
    )
    for group, table in tables.items():  # together, so that a break leaves the earlier analysis whole
        write_analysis(run, group, table, name)
    write_result(run, summary, name)
    state.remove()
    if run.documents["kept"].all():  # a search of firing experts needs all routing
        for group in run.groups:
            count_token_keys(run, group)
    return summary


def _read(
    run: Run, settings: Settings, state: State, progress: bool, where: Computing
) -> tuple[dict[int, pd.DataFrame], Replication | None, Precision | None]:
    """What the routing tells: a table for each group, how experts replicate, and the precision of a sample."""
    evidence = Evidence(run, settings)
    groups = {
        group: GroupEvidence(run.experts(group, ["tokens"]), run.num_keys, bool(settings.permutations))
        for group in run.groups
    }
    known: list[Arrays] = []
    for block, found in run_tasks(evidence.blocks(), evidence, state, "routing", "activations", progress, **where):
        groups[block.group].take(found)
        if evidence.halves is not None:
            evidence.halves.take(
                block.group, {name[len(HALVES) :]: found[name] for name in found if name.startswith(HALVES)}
            )
        if run.drawn is not None:
            known.append({name: found[name] for name in PRECISION})
    precision = None
    if known:
        precision = Precision.of(*(np.concatenate([one[name] for one in known]) for name in PRECISION))
    replicated = None if evidence.halves is None else evidence.halves.counted()
    return {group: one.table() for group, one in groups.items()}, replicated, precision


def _count(table: pd.DataFrame, labels: list[str]) -> pd.Series:
    return table["specialised"].value_counts().reindex(labels, fill_value=0)


def _by_group(counts: dict[int, pd.Series]) -> pd.DataFrame:
    return pd.DataFrame(counts).T.rename_axis("group")


def _embeddings(run: Run, model: MonetForCausalLM | None, encoder: bool, progress: bool) -> dict[str, Embeddings]:
    """The views of contexts that context scores are computed from."""
    from ..encoder import load_encoder
    from .scores.coherence import encoder_embeddings, residual_embeddings

    views = {}
    if model is not None:
        check_same_model(run, model)
        views["residual"] = residual_embeddings(run, model, progress)
    if encoder:
        views["encoder"] = encoder_embeddings(run, load_encoder(), progress)
    return views


def _analyze_group(
    run: Run,
    group: int,
    settings: Settings,
    views: dict[str, Embeddings],
    routing: pd.DataFrame,
    progress: bool,
) -> pd.DataFrame:
    experts = run.experts(group)
    label_tokens = run.label_tokens[run.labels].to_numpy()
    rule = settings.ratio, settings.min_tokens
    spans = [slice(first, first + DERIVED_AT_ONCE) for first in range(0, len(experts) or 1, DERIVED_AT_ONCE)]
    table = pd.concat([derive(experts[span], run.labels, label_tokens, *rule) for span in spans])
    experts = experts[["tokens"]].copy()  # two columns per label may be most of the memory
    tested = (experts["tokens"] >= settings.min_tokens).to_numpy()
    parts = [table, interest(run, group).reindex(table.index), routing]
    null_seed = settings.seed if settings.permutations else None
    for score in scores_of_kind(ContextScore).values():
        if score.view in views:
            view = views[score.view]
            parts.append(context_evidence(run, group, experts, tested, score, view, null_seed, progress))
    joined = pd.concat(parts, axis=1)
    return add_verdicts(joined, settings.fdr) if settings.permutations else joined


def derive(
    experts: pd.DataFrame, labels: list[str], label_tokens: np.ndarray, ratio: float, min_tokens: int
) -> pd.DataFrame:
    """Label shares, label scores and the specialised label of experts, from their statistics alone.

    Args:
        experts: as ``Run.experts`` returns them.
        labels: the run's labels.
        label_tokens: (labels,) tokens of each.
        ratio, min_tokens: the rule.

    Returns:
        Index ``expert``; columns specialised, one per ``LabelScore``, and ``share:{label}``.
    """
    mass, tokens = (np.stack([experts[f"{kind}:{label}"] for label in labels]) for kind in ("mass", "tokens"))
    shares = label_shares(mass, label_tokens)
    chosen = specialised_label(shares, experts["tokens"], ratio, min_tokens)
    names = np.array([*labels, NO_LABEL], dtype=object)  # the last is the generalist's, whose number is -1
    columns = {"specialised": names[chosen], **label_scores(mass, tokens.astype(np.float64), label_tokens)}
    columns |= {f"share:{label}": shares[number] for number, label in enumerate(labels)}
    return pd.DataFrame(columns, index=experts.index.rename("expert"))

"""`monet analyze`: which label each expert is specialised in, and how far; derived from a run's statistics alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ...errors import WorkbenchError
from ...store.files import write_parquet
from ..checks import check_labels, check_rule
from .shares import (
    MIN_TOKENS,
    RATIO,
    advantage,
    class_selectivity,
    label_information,
    label_shares,
    monosemanticity,
    specialised_label,
)

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run
    from .scores.coherence import Embeddings

GENERALIST = ""  # in the column `specialised`
PERMUTATIONS = 200
FDR = 0.05


@dataclass(frozen=True)
class Settings:
    """How experts are called specialised, and how that is tested; fields as :func:`analyze_run` takes them."""

    ratio: float = RATIO
    min_tokens: int = MIN_TOKENS
    permutations: int = PERMUTATIONS
    fdr: float = FDR
    seed: int = 0

    def __post_init__(self) -> None:
        check_rule(self.ratio, self.min_tokens)
        if self.permutations < 0:
            raise WorkbenchError(f"permutations must not be negative, got {self.permutations}.")
        if not 0 < self.fdr < 1:
            raise WorkbenchError(f"fdr must lie between 0 and 1, got {self.fdr}.")


@dataclass(frozen=True)
class Summary:
    """What `monet analyze` found.

    Attributes:
        settings: it was made with.
        seen: group -> experts active at least once.
        specialised: specialised experts by group (index) and label (columns): the paper's Table 10.
        confirmed: those of them that the null does not explain, likewise; None where nothing was tested.
    """

    settings: Settings
    seen: dict[int, int]
    specialised: pd.DataFrame
    confirmed: pd.DataFrame | None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        counts = {"specialised": self.specialised}
        if self.confirmed is not None:
            counts["confirmed"] = self.confirmed
        return {
            **asdict(self.settings),
            "labels": list(self.specialised.columns),
            "groups": [
                {"group": group, "seen": seen} | {name: table.loc[group].to_dict() for name, table in counts.items()}
                for group, seen in self.seen.items()
            ],
            **{name: table.sum().to_dict() for name, table in counts.items()},
        }


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
    progress: bool = False,
) -> Summary:
    """What every expert seen knows of the labels and how pure it is; written to ``RUN/analysis``.

    :func:`read_analysis` says what is written. Labels are weighted by their size
    (:func:`label_shares`). An expert is specialised in a label if its rate there is at
    least ``ratio`` times its second rate and it was active at ``min_tokens`` tokens or more
    (:func:`specialised_label`); it is confirmed if labels shuffled among documents
    do not give such a ratio, at a false discovery rate of ``fdr`` over its group.

    Args:
        run: an opened run.
        ratio: first rate over second rate.
        min_tokens: active tokens an expert needs to be called specialised, and to be tested.
        permutations: shuffles of the labels; 0 for no tests at all. No p-value is below 1 / (permutations + 1), so
            where few experts are specialised, verdicts need more of them.
        fdr: false discovery rate.
        seed: of everything random.
        model: the run's model, for coherence by its residual stream; without it, that score is left out.
        encoder: also score coherence by a sentence encoder; needs the run's texts.
        progress: show progress bars.

    Raises:
        WorkbenchError: the rule makes no sense, the run has fewer than two labels, the model is not the run's, or the
            encoder cannot be used.
    """
    settings = Settings(ratio, min_tokens, permutations, fdr, seed)
    check_labels(run)
    views = _embeddings(run, model, encoder, progress)
    seen, specialised, confirmed = {}, {}, {}
    for group in run.groups:
        table = _analyze_group(run, group, settings, views, progress)
        write_parquet(run.analysis_path(_name(group)), pa.Table.from_pandas(table.reset_index(), preserve_index=False))
        seen[group] = len(table)
        specialised[group] = _count(table, run.labels)
        if permutations:
            confirmed[group] = _count(table[table["confirmed"]], run.labels)
    return Summary(
        settings=settings,
        seen=seen,
        specialised=_by_group(specialised),
        confirmed=_by_group(confirmed) if permutations else None,
    )


def _count(table: pd.DataFrame, labels: list[str]) -> pd.Series:
    return table["specialised"].value_counts().reindex(labels, fill_value=0)


def _by_group(counts: dict[int, pd.Series]) -> pd.DataFrame:
    return pd.DataFrame(counts).T.rename_axis("group")


def _embeddings(run: Run, model: MonetForCausalLM | None, encoder: bool, progress: bool) -> dict[str, Embeddings]:
    """The views of contexts that coherence is scored by."""
    if model is None and not encoder:
        return {}
    from ..checks import check_same_model
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
    run: Run, group: int, settings: Settings, views: dict[str, Embeddings], progress: bool
) -> pd.DataFrame:
    from .p_values import add_verdicts, coherence_evidence, routing_evidence

    experts = run.experts(group)
    label_tokens = run.label_tokens[run.labels].to_numpy()
    table = derive(experts, run.labels, label_tokens, settings.ratio, settings.min_tokens)
    tested = (experts["tokens"] >= settings.min_tokens).to_numpy()
    routing = routing_evidence(run, group, experts, settings.min_tokens, settings.permutations, settings.seed, progress)
    parts = [table, routing]
    null_seed = settings.seed if settings.permutations else None
    for name, embeddings in views.items():
        parts.append(coherence_evidence(run, group, experts, tested, name, embeddings, null_seed, progress))
    joined = pd.concat(parts, axis=1)
    return add_verdicts(joined, settings.fdr) if settings.permutations else joined


def derive(
    experts: pd.DataFrame, labels: list[str], label_tokens: np.ndarray, ratio: float, min_tokens: int
) -> pd.DataFrame:
    """What statistics of experts say of their labels.

    Args:
        experts: as ``Run.experts`` gives them.
        labels: the run's labels.
        label_tokens: (labels,) tokens of each.
        ratio, min_tokens: the rule.

    Returns:
        Index ``expert``; columns specialised, score, ratio, selectivity, information and ``share:{label}``, as
        :func:`read_analysis` explains them.
    """
    mass, tokens = (np.stack([experts[f"{kind}:{label}"] for label in labels]) for kind in ("mass", "tokens"))
    shares = label_shares(mass, label_tokens)
    chosen = specialised_label(shares, experts["tokens"], ratio, min_tokens)
    names = np.array([*labels, GENERALIST], dtype=object)  # position -1 is the generalist's
    columns = {
        "specialised": names[chosen],
        "score": monosemanticity(shares),
        "ratio": advantage(shares),
        "selectivity": class_selectivity(shares),
        "information": label_information(tokens.astype(np.float64), label_tokens),
    }
    columns |= {f"share:{label}": shares[number] for number, label in enumerate(labels)}
    return pd.DataFrame(columns, index=experts.index.rename("expert"))


def read_analysis(run: Run, group: int) -> pd.DataFrame:
    """What :func:`analyze_run` found of a group's experts: a row for each one seen, index ``expert``.

    Columns, each with its formula where the name links:

    - ``specialised``: the label an expert is specialised in, or ``""`` for a generalist;
    - ``score``: 1 - H(share) / log L (:func:`~workbench.analysis.specialisation.shares.monosemanticity`);
    - ``ratio``: first share over second (:func:`~workbench.analysis.specialisation.shares.advantage`);
    - ``selectivity`` (:func:`~workbench.analysis.specialisation.shares.class_selectivity`);
    - ``information``, nats (:func:`~workbench.analysis.specialisation.shares.label_information`);
    - ``share:{label}`` (:func:`~workbench.analysis.specialisation.shares.label_shares`);
    - ``vocabulary_entropy``, nats (:func:`vocabulary_entropy`);
    - ``coherence:residual`` and ``coherence:encoder``, if asked for
      (:func:`~workbench.analysis.specialisation.scores.coherence.weighted_coherence`);
    - ``p:{score}`` and ``q:{score}`` for each score, unless ``permutations`` was 0: how often the null is at least as
      extreme (:mod:`p_values`), and the false discovery rate at which that is significant;
    - ``confirmed``: specialised, and the ratio significant at the rate asked for.

    The scores that need a minimum of tokens, and all tests, are NaN for experts seen less. Where a run keeps the
    routing of some documents only, vocabulary and p-values rest on those; all else is of every document.

    Raises:
        WorkbenchError: the run has no such group, or has not been analysed.
    """
    if group not in run.groups:
        raise WorkbenchError(f"there is no group {group}; {run.path} has the groups {', '.join(map(str, run.groups))}.")
    path = run.analysis_path(_name(group))
    if not path.is_file():
        raise WorkbenchError(f"{run.path} has not been analysed; run `monet analyze {run.path}`.")
    return pq.read_table(path).to_pandas().set_index("expert")


def _name(group: int) -> str:
    return f"experts-group-{group}.parquet"

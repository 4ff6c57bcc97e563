"""Scores that need a run's routing or texts, and p-values and verdicts for every score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...progress import job
from ..activations import read_activations
from ..significance import benjamini_hochberg, pooled_p
from ..units import document_units, label_units
from .label_null import LabelNull
from .replication import document_rows
from .scores import ContextScore, Embeddings, LabelScore, Score, TextScore, scores_of_kind
from .scores.coherence import read_examples

if TYPE_CHECKING:
    from ...store import Run
    from .replication import Halves

SHIFTS = 2  # how often the text is shifted against the routing


def shifts(run: Run, seed: int) -> list[int]:
    """Random distances, in token rows, between a tenth and nine tenths of the run."""
    rows = run.tokens_total
    return np.random.default_rng(seed).integers(rows // 10 + 1, rows - rows // 10 + 1, SHIFTS).tolist()


def routing_evidence(
    run: Run,
    group: int,
    experts: pd.DataFrame,
    min_tokens: int,
    permutations: int,
    seed: int,
    progress: bool,
    halves: Halves | None = None,
) -> pd.DataFrame:
    """Every ``TextScore``, and p-values of these and of every ``LabelScore``, from the run's routing.

    Labels are shuffled among documents (``LabelNull``), of which near copies of one label are one. Text scores do not
    depend on labels, so their null shifts the text against the routing: each token's routing is paired with the token
    some distance on, which keeps how experts behave from token to token and breaks only their tie to the text. An
    expert's score is compared with the null scores of experts active at about as many tokens.

    Args:
        run, group: where the experts are.
        experts: as ``Run.experts`` returns them.
        min_tokens: experts active at fewer tokens whose routing is kept are neither scored nor tested: NaN.
        permutations: of the labels; 0 for no tests.
        seed: of the shuffles and distances.
        progress: show a progress bar.
        halves: takes note of the experts of the group on either half of the documents.

    Returns:
        Index as of ``experts``; columns ``{score}`` for text scores and, with tests, ``p:{score}`` for both kinds.
    """
    kept_documents = run.documents[run.documents["kept"]]
    label = kept_documents["label"].map(run.check_label).to_numpy(np.int64)
    pair, pair_label = label_units(document_units(kept_documents), label)
    pair_tokens = np.bincount(pair, kept_documents["tokens"], len(pair_label)).astype(np.int64)
    null = LabelNull(pair_label, pair_tokens, len(run.labels), permutations, seed) if permutations else None
    text_scores = scores_of_kind(TextScore)
    document = document_rows(run)
    token = run.tokens()["token"].to_numpy(np.int64)
    texts = [token, *(np.roll(token, -distance) for distance in (shifts(run, seed) if permutations else []))]
    values = {name: [pd.Series(np.nan, experts.index) for _ in texts] for name in text_scores}
    active = np.zeros(run.num_keys**2)  # tokens whose routing is kept
    p = pd.DataFrame(np.nan, experts.index, [f"p:{name}" for name in scores_of_kind(LabelScore)] if null else [])
    with job(f"routing of group {group}", int(experts["tokens"].sum()), "activations", progress) as advance:
        for activations in read_activations(run, group, advance):
            table = activations.by(document)
            if halves is not None:
                halves.add(group, table)
            ids, counts = np.unique(activations.expert, return_counts=True)
            active[ids] = counts
            tested = ids[counts >= min_tokens]
            if not len(tested):
                continue
            for number, text in enumerate(texts):
                vocabulary = activations.counts(text)
                for name, score in text_scores.items():
                    values[name][number][tested] = score.compute(*vocabulary).reindex(tested).to_numpy()
            if null is not None:
                for name, of_score in null.p_values(table.merged(pair), tested).items():
                    p.loc[tested, f"p:{name}"] = of_score
    columns = {}
    for name, score in text_scores.items():
        if permutations:
            columns[f"p:{name}"] = _pooled(score, [one.to_numpy() for one in values[name]], active[experts.index])
        columns[name] = values[name][0].to_numpy()
    return p.assign(**columns)


def context_evidence(
    run: Run,
    group: int,
    experts: pd.DataFrame,
    tested: NDArray[np.bool_],
    score: ContextScore,
    embeddings: Embeddings,
    seed: int | None,
    progress: bool,
) -> pd.DataFrame:
    """A ``ContextScore`` of experts' best examples and, with a seed, its p-value.

    The null gives each example the context of the token some distance on, as in ``routing_evidence``; scores are
    compared with those of experts with as many examples.

    Args:
        run, group, experts, progress: as for ``routing_evidence``.
        tested: (experts,) those to score and test; the others have NaN.
        score: the score.
        embeddings: of the run's tokens, in the score's view.
        seed: of the distances; None for no test.

    Returns:
        Index as of ``experts``; columns ``{score}`` and ``p:{score}``.
    """
    examples = read_examples(run, group)
    expert, weight, row = (examples[column].to_numpy() for column in ("expert", "score", "row"))
    ids, sizes = np.unique(expert, return_counts=True)
    distances = [0, *([] if seed is None else shifts(run, seed))]
    values = []
    with job(f"{score.title}, group {group}", len(row) * len(distances), "examples", progress) as advance:
        for distance in distances:
            of_examples = score.compute(expert, weight, (row + distance) % run.tokens_total, embeddings)
            values.append(pd.Series(of_examples, ids).reindex(experts.index).where(tested).to_numpy())
            advance(len(row))
    columns = {score.name: values[0]}
    if seed is not None:
        size = pd.Series(sizes.astype(float), ids).reindex(experts.index, fill_value=0).to_numpy()
        columns[f"p:{score.name}"] = _pooled(score, values, size)
    return pd.DataFrame(columns, index=experts.index)


def _pooled(score: Score, values: list[NDArray[np.float64]], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """p-values of the first values under the null of the others."""
    true, *null = values if score.higher_is_purer else [-one for one in values]
    return pooled_p(true, size, np.concatenate(null), np.tile(size, len(null)))


def add_verdicts(table: pd.DataFrame, fdr: float) -> pd.DataFrame:
    """The table with ``q:{score}`` after each p-value, and ``confirmed``.

    ``q`` is the false discovery rate, over the group's tested experts, at which the score would be called significant.
    ``confirmed`` is True for experts that are specialised by the rule and whose ratio is significant at rate ``fdr``.
    """
    for name in [column for column in table.columns if column.startswith("p:")]:
        q = benjamini_hochberg(table[name].to_numpy())
        table.insert(table.columns.get_loc(name) + 1, f"q{name[1:]}", q)
    return table.assign(confirmed=(table["specialised"] != "") & (table["q:ratio"] <= fdr))

"""Scores of experts that need the run's routing or texts, and for every score a null, p-values and a verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...progress import job
from ..activations import read_activations
from ..significance import benjamini_hochberg, pooled_p
from .label_null import SCORES, LabelNull
from .scores.coherence import Embeddings, read_examples, weighted_coherence
from .scores.vocabulary_entropy import vocabulary_entropy

if TYPE_CHECKING:
    from ...store import Run

SHIFTS = 2  # how often the text is slid under the activations


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
    shown: bool,
) -> pd.DataFrame:
    """What needs the run's routing: vocabulary entropy, and p-values of it and of the scores that compare labels.

    Labels are shuffled by document (:class:`LabelNull`). They have no part in the
    vocabulary, so its null slides the text under the activations instead: each token's routing stands on the token
    some distance on, which keeps what experts do from token to token and breaks only its tie to the text. Entropies
    are held against those of experts seen about as often.

    Args:
        run, group: where the experts are.
        experts: as ``Run.experts`` gives them.
        min_tokens: experts active at fewer tokens whose routing is kept are not scored and tested; they have NaN.
        permutations: of the labels; 0 for no tests.
        seed: of the shuffles and distances.
        shown: show progress.

    Returns:
        Index as of ``experts``; columns vocabulary_entropy, and with tests ``p:{score}``.
    """
    null = _label_null(run, permutations, seed) if permutations else None
    kept = np.cumsum(run.documents["kept"].to_numpy()) - 1  # number of a document among those kept
    document = np.repeat(kept, run.documents["tokens"])
    token = run.tokens()["token"].to_numpy(np.int64)
    texts = [token, *(np.roll(token, -distance) for distance in (shifts(run, seed) if permutations else []))]
    entropies = [pd.Series(np.nan, experts.index) for _ in texts]
    seen = np.zeros(run.num_keys**2)  # active tokens whose routing is kept
    p = pd.DataFrame(np.nan, experts.index, [f"p:{name}" for name in SCORES] if null else [])
    with job(f"routing of group {group}", int(experts["tokens"].sum()), "activations", shown) as advance:
        for activations in read_activations(run, group, advance):
            found, counts = np.unique(activations.expert, return_counts=True)
            seen[found] = counts
            here = found[counts >= min_tokens]
            if not len(here):
                continue
            for entropy, text in zip(entropies, texts, strict=True):
                entropy[here] = vocabulary_entropy(*activations.counts(text)).reindex(here).to_numpy()
            if null is not None:
                for name, values in null.p_values(activations.by(document), here).items():
                    p.loc[here, f"p:{name}"] = values
    if permutations:
        scores = [-entropy.to_numpy() for entropy in entropies]
        p["p:vocabulary_entropy"] = _pooled(scores, seen[experts.index])
    return p.assign(vocabulary_entropy=entropies[0])


def _label_null(run: Run, permutations: int, seed: int) -> LabelNull:
    number = {label: n for n, label in enumerate(run.labels)}
    kept = run.documents[run.documents["kept"]]
    label = kept["label"].map(number).to_numpy(np.int64)
    return LabelNull(label, kept["tokens"].to_numpy(), len(run.labels), permutations, seed)


def coherence_evidence(
    run: Run,
    group: int,
    experts: pd.DataFrame,
    tested: NDArray[np.bool_],
    name: str,
    embeddings: Embeddings,
    seed: int | None,
    shown: bool,
) -> pd.DataFrame:
    """Weighted coherence of experts' best examples, and with a seed its p-value: columns ``coherence:{name}``, ``p:``.

    The null gives each example the context of the token some distance on, as :func:`routing_evidence` does; scores are
    held against those of experts with as many examples.

    Args:
        run, group, experts, shown: as :func:`routing_evidence` takes them.
        tested: (experts,) those to score and test; the others have NaN.
        name: of the embeddings.
        embeddings: of the run's tokens.
        seed: of the distances; None for no test.
    """
    examples = read_examples(run, group)
    expert, weight, row = (examples[column].to_numpy() for column in ("expert", "score", "row"))
    ids, sizes = np.unique(expert, return_counts=True)
    distances = [0, *([] if seed is None else shifts(run, seed))]
    found = []
    with job(f"coherence by {name}, group {group}", len(row) * len(distances), "examples", shown) as advance:
        for distance in distances:
            scores = weighted_coherence(expert, weight, (row + distance) % run.tokens_total, embeddings)
            found.append(pd.Series(scores, ids).reindex(experts.index).where(tested).to_numpy())
            advance(len(row))
    columns = {f"coherence:{name}": found[0]}
    if seed is not None:
        size = pd.Series(sizes.astype(float), ids).reindex(experts.index, fill_value=0).to_numpy()
        columns[f"p:coherence:{name}"] = _pooled(found, size)
    return pd.DataFrame(columns, index=experts.index)


def _pooled(found: list[NDArray[np.float64]], size: NDArray[np.float64]) -> NDArray[np.float64]:
    """p-values of the first scores under the null of the others."""
    return pooled_p(found[0], size, np.concatenate(found[1:]), np.tile(size, len(found) - 1))


def add_verdicts(table: pd.DataFrame, fdr: float) -> pd.DataFrame:
    """The table with ``q:{score}`` after each p-value, and ``confirmed``.

    ``q`` is the false discovery rate, over the group's tested experts, at which the score would be called significant.
    ``confirmed`` is True for experts that are specialised by the rule and whose ratio is significant at rate ``fdr``.
    """
    for name in [column for column in table.columns if column.startswith("p:")]:
        q = benjamini_hochberg(table[name].to_numpy())
        table.insert(table.columns.get_loc(name) + 1, f"q{name[1:]}", q)
    return table.assign(confirmed=(table["specialised"] != "") & (table["q:ratio"] <= fdr))

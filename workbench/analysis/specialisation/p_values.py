"""Scores that need a run's routing or texts, and p-values and verdicts for every score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...progress import job
from ..significance import benjamini_hochberg, pooled_p
from ..work import Arrays
from .scores import ContextScore, Embeddings, LabelScore, Score, TextScore, scores_of_kind
from .scores.coherence import read_examples

if TYPE_CHECKING:
    from ...store import Run

SHIFTS = 2  # how often the text is shifted against the routing


def shifts(tokens: int, seed: int) -> list[int]:
    """Random distances, in token rows, between a tenth and nine tenths of all tokens."""
    return np.random.default_rng(seed).integers(tokens // 10 + 1, tokens - tokens // 10 + 1, SHIFTS).tolist()


class GroupEvidence:
    """Every ``TextScore``, and p-values of these and of every ``LabelScore``, gathered block by block.

    Args:
        experts: of a group, as ``Run.experts`` returns them.
        num_keys: E.
        tested: whether anything is tested.
    """

    def __init__(self, experts: pd.DataFrame, num_keys: int, tested: bool) -> None:
        self._index, self._tested = experts.index, tested
        self._values = {
            name: np.full((1 + SHIFTS if tested else 1, num_keys**2), np.nan) for name in scores_of_kind(TextScore)
        }
        self._p = {name: np.full(num_keys**2, np.nan) for name in scores_of_kind(LabelScore)} if tested else {}
        self._active = np.zeros(num_keys**2)  # tokens whose routing is read

    def take(self, found: Arrays) -> None:
        """Take note of what ``Evidence`` found of some experts."""
        self._active[found["experts"]] = found["tokens"]
        for name, values in self._values.items():
            values[:, found["tested"]] = found[name]
        for name, p in self._p.items():
            p[found["tested"]] = found[f"p:{name}"]

    def table(self) -> pd.DataFrame:
        """Index as of ``experts``; columns ``{score}`` of text scores and, with tests, ``p:{score}`` of both kinds."""
        columns = {f"p:{name}": p[self._index] for name, p in self._p.items()}
        size = self._active[self._index]
        for name, score in scores_of_kind(TextScore).items():
            values = [one[self._index] for one in self._values[name]]
            if self._tested:
                columns[f"p:{name}"] = _pooled(score, values, size)
            columns[name] = values[0]
        return pd.DataFrame(columns, self._index)


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

    The null gives each example the context of the token some distance on, as in ``Evidence``; scores are
    compared with those of experts with as many examples.

    Args:
        run, group: where the experts are.
        experts: as ``Run.experts`` returns them.
        tested: (experts,) those to score and test; the others have NaN.
        score: the score.
        embeddings: of the run's tokens, in the score's view.
        seed: of the distances; None for no test.
        progress: show a progress bar.

    Returns:
        Index as of ``experts``; columns ``{score}`` and ``p:{score}``.
    """
    examples = read_examples(run, group)
    expert, weight, row = (examples[column].to_numpy() for column in ("expert", "score", "row"))
    ids, sizes = np.unique(expert, return_counts=True)
    distances = [0, *([] if seed is None else shifts(run.tokens_total, seed))]
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

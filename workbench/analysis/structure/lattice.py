"""Is an expert what its row means and what its column means? A test of the product of keys, group by group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import WorkbenchError
from ...progress import Progress, silent
from ..activations import ROUTING_ROWS
from ..specialisation.shares import MIN_TOKENS, Floats, label_shares, smoothing
from ..sums import LEFT_OUT, LabelSums, label_sums

if TYPE_CHECKING:
    from cuda_ext.routing import Routing

    from ...store import Run

MODELS = ("sum", "product")


class TwoWay:
    """Least squares of ``a_i + b_j`` over some cells (i, j) of the lattice, each once; any of them may be missing.

    Args:
        experts: (n,) flat ids of the cells.
        keys: E.
    """

    def __init__(self, experts: NDArray[np.int64], keys: int) -> None:
        self.keys = keys
        self.row, self.column = np.divmod(experts, keys)
        cells = np.zeros((keys, keys))
        cells[self.row, self.column] = 1.0
        normal = np.block([[np.diag(cells.sum(1)), cells], [cells.T, np.diag(cells.sum(0))]])
        self.inverse = np.linalg.pinv(normal, hermitian=True)

    def fitted(self, values: Floats) -> Floats:
        """The fit of each row of (m, n) values by itself."""
        effects = self._sums(values) @ self.inverse
        return effects[:, self.row] + effects[:, self.keys + self.column]

    def explained(self, values: Floats) -> float:
        """Sum of the squares of all fits, which need not be formed for it."""
        sums = self._sums(values)
        return float(((sums @ self.inverse) * sums).sum())

    def _sums(self, values: Floats) -> Floats:
        """Sums over rows, then columns, of the lattice: (m, 2 E)."""
        sums = [[np.bincount(place, some, self.keys) for place in (self.row, self.column)] for some in values]
        return np.array(sums, np.float64).reshape(len(values), -1)


def label_preference(mass: Floats, tokens: Floats, label_tokens: NDArray[np.int64], model: str) -> Floats:
    """How experts prefer labels, in the form in which row and column would add up.

    ``sum``: the shares of the labels (:func:`label_shares`). ``product``: the logarithm
    of the rate of each label, less its mean over labels (the centred log-ratio of Aitchison 1982), so that rates that
    are products of row and column become sums. Rates are smoothed as though each label had one more active token of the
    expert's mean score.

    Args:
        mass, tokens: (labels, experts) sums of scores and active tokens.
        label_tokens: (labels,).
        model: one of :data:`MODELS`.

    Returns:
        (labels, experts), less the mean over experts.
    """
    if model == "sum":
        preference = label_shares(mass, label_tokens)
    else:
        logs = np.log(mass / label_tokens[:, None] + smoothing(mass, tokens, label_tokens))
        preference = logs - logs.mean(0)
    return preference - preference.mean(1, keepdims=True)


def lattice_test(
    run: Run, group: int, permutations: int, seed: int, advance: Progress = silent
) -> list[dict[str, Any]]:
    """How far the label preference of a group's experts is a row effect plus a column effect.

    For each of :data:`MODELS`, ``y_l(i, j) = a_l(i) + b_l(j) + rest`` is fitted by least squares for every label l,
    over the experts with :data:`MIN_TOKENS` active tokens in both halves of the
    documents. The null gives experts each other's place in the lattice, whole label vectors at a time.

    What is left over is part interaction, the expert's own meaning, and part chance, since experts are seen at few
    tokens. The halves tell them apart: chance is independent between them, so the sum of the products of one half's
    values with the other's counts what both have, and that of their rests what both have beyond row and column.

    Args:
        run, group: where the experts are.
        permutations: of the null.
        seed: of the halves and of the null.
        advance: called with the tokens read since its last call.

    Returns:
        For each model, a row: group, model, experts; explained (part of the variance that the fit explains), null (the
        same by chance, on average) and p; reliable (correlation of the halves' values); keys and interaction (parts of
        what the halves have in common that row and column effects make, and that they do not; they sum to 1) and
        interaction_p (how often the rests of shuffled experts have as much in common).
    """
    sums = _half_sums(run, group, seed, advance)
    kept = np.flatnonzero(np.min([half.tokens.sum(0) for half in sums], axis=0) >= MIN_TOKENS)
    if len(kept) < 2 * run.num_keys:
        raise WorkbenchError(
            f"group {group} of {run.path} has {len(kept)} experts active at {MIN_TOKENS} tokens or more of both halves "
            f"of its documents; to tell rows from columns takes {2 * run.num_keys}. Export more text."
        )
    if not min(half.label_tokens.min() for half in sums):
        raise WorkbenchError(
            f"a label of {run.path} has text in one half of the documents only; it takes two documents."
        )
    fit, found = TwoWay(kept, run.num_keys), []
    for model in MODELS:
        rng = np.random.default_rng([seed, 1])
        first, second = (_preference(half, kept, model) for half in sums)
        whole = _preference(_added(sums), kept, model)
        total = float(np.square(whole).sum())
        explained, *null = (
            fit.explained(whole[:, order]) / total
            for order in [np.arange(len(kept)), *(rng.permutation(len(kept)) for _ in range(permutations))]
        )
        rest1, rest2 = first - fit.fitted(first), second - fit.fitted(second)
        common, left = float((first * second).sum()), float((rest1 * rest2).sum())
        chance = [float((rest1 * rest2[:, rng.permutation(len(kept))]).sum()) for _ in range(permutations)]
        found.append(
            {
                "group": group,
                "model": model,
                "experts": len(kept),
                "explained": explained,
                "null": float(np.mean(null)),
                "p": _p_value(explained, null),
                "reliable": common / float(np.sqrt(np.square(first).sum() * np.square(second).sum())),
                "keys": 1 - left / common,
                "interaction": left / common,
                "interaction_p": _p_value(left, chance),
            }
        )
    return found


def _p_value(value: float, null: list[float]) -> float:
    return float((1 + (np.array(null) >= value).sum()) / (1 + len(null)))


def _preference(sums: LabelSums, kept: NDArray[np.int64], model: str) -> Floats:
    return label_preference(sums.mass[:, kept], sums.tokens[:, kept].astype(np.float64), sums.label_tokens, model)


def _added(sums: list[LabelSums]) -> LabelSums:
    first, second = sums
    return LabelSums(first.mass + second.mass, first.tokens + second.tokens, first.label_tokens + second.label_tokens)


def _half_sums(run: Run, group: int, seed: int, advance: Progress) -> list[LabelSums]:
    """Sums by label over either half of the documents whose routing is kept.

    Each label's documents are dealt in turn, in random order.
    """
    number = {label: at for at, label in enumerate(run.labels)}
    label = run.documents["label"].map(number).to_numpy(np.int64)
    order = np.random.default_rng(seed).permutation(len(label))
    half = np.zeros(len(label), np.int64)
    for at in range(len(run.labels)):
        mine = order[(label[order] == at) & run.documents["kept"].to_numpy()[order]]
        half[mine] = np.arange(len(mine)) % 2
    cell = np.where(run.documents["kept"], half * len(run.labels) + label, LEFT_OUT)
    cell = np.repeat(cell, run.documents["tokens"])

    def parts() -> Iterator[tuple[Routing, NDArray[np.int64]]]:
        for start in range(0, run.tokens_total, ROUTING_ROWS):
            rows = slice(start, start + ROUTING_ROWS)
            yield run.kept_routing(rows, group), cell[rows]
            advance(len(cell[rows]))

    sums = label_sums(parts(), run.num_keys, 2 * len(run.labels))
    columns = (np.split(values, 2) for values in (sums.mass, sums.tokens, sums.label_tokens))
    return [LabelSums(*values) for values in zip(*columns, strict=True)]

"""Two-way (row x column) ANOVA of label preference: how far an expert's two keys explain which labels it prefers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ...errors import BadInputError
from ..defaults import MIN_TOKENS
from ..specialisation.shares import Floats, label_shares
from ..sums import LEFT_OUT, LabelSums, read_label_sums, smoothing
from ..work import Computing, State

if TYPE_CHECKING:
    from ...store import Run

MODELS = ("sum", "product")


class TwoWay:
    """Least-squares fit of ``a_i + b_j`` over the cells (i, j) of a lattice, any of which may be missing.

    Args:
        experts: (n,) flat ids of the cells present.
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
        """Return the fit of each row of (m, n) values separately."""
        effects = self._sums(values) @ self.inverse
        return effects[:, self.row] + effects[:, self.keys + self.column]

    def explained(self, values: Floats) -> float:
        """Return the sum of squares of all fits, without computing the fits."""
        sums = self._sums(values)
        return float(((sums @ self.inverse) * sums).sum())

    def _sums(self, values: Floats) -> Floats:
        """Sums over rows, then columns, of the lattice: (m, 2 E)."""
        sums = [[np.bincount(place, row, self.keys) for place in (self.row, self.column)] for row in values]
        return np.array(sums, np.float64).reshape(len(values), -1)


def label_preference(mass: Floats, tokens: Floats, label_tokens: NDArray[np.int64], model: str) -> Floats:
    """Return how experts prefer labels, in the form in which row and column effects would add.

    ``sum``: label shares (``label_shares``). ``product``: the log of each
    label's rate minus its mean over labels (the centred log-ratio of Aitchison 1982), so that rates that are a product
    of a row and a column factor become sums. Rates are smoothed (``smoothing``).

    Args:
        mass: (labels, experts) sums of routing scores.
        tokens: (labels, experts) active tokens.
        label_tokens: (labels,) tokens per label.
        model: one of ``MODELS``.

    Returns:
        (labels, experts), with the mean over experts subtracted.
    """
    if model == "sum":
        preference = label_shares(mass, label_tokens)
    else:
        logs = np.log(mass / label_tokens[:, None] + smoothing(mass, tokens, label_tokens))
        preference = logs - logs.mean(0)
    return preference - preference.mean(1, keepdims=True)


def lattice_test(run: Run, group: int, sums: list[LabelSums], permutations: int, seed: int) -> list[dict[str, Any]]:
    """Test how far the label preference of a group's experts is a row effect plus a column effect.

    For each of ``MODELS``, ``y_l(i, j) = a_l(i) + b_l(j) + residual`` is fitted by least squares per label l, over
    the experts with at least ``MIN_TOKENS`` active tokens in both halves of the documents. The null permutes the
    experts over the lattice, whole label vectors at a time.

    The residual is part interaction, which is specific to the pair of keys, and part noise, since experts are seen at
    few tokens. The halves separate the two: noise is independent between them, so the sum of products of both halves'
    values measures what they have in common, and the sum of products of their residuals what they have in common beyond
    row and column.

    Args:
        run: an opened run.
        group: number of the group.
        sums: of its experts over either half of the documents, as ``half_sums`` yields them.
        permutations: of the null; with 0, ``null`` is NaN, and both p-values are 1.
        seed: of the null.

    Returns:
        For each model, a row:

        - group, model: number of the group; ``sum`` or ``product``.
        - experts: experts that the model was fitted to.
        - explained: fraction of the variance that the fit explains.
        - null: the mean of that over the permutations.
        - p: fraction of the permutations, the data among them, that explain as much.
        - reliable: correlation between the two halves' values.
        - keys, interaction: of what the halves have in common, the fraction that row and column effects explain, and
          the fraction that they do not; these sum to 1.
        - interaction_p: fraction of permutations whose residuals have as much in common.

    Raises:
        BadInputError: too few experts are active enough in both halves, or a label has no text in one of them.
    """
    kept = np.flatnonzero(np.min([half.tokens.sum(0) for half in sums], axis=0) >= MIN_TOKENS)
    if len(kept) < 2 * run.num_keys:
        raise BadInputError(
            f"group {group} of {run.path} has {len(kept)} experts that are active at {MIN_TOKENS} or more tokens in "
            f"both halves of the documents; separating rows from columns needs {2 * run.num_keys}. Export more text."
        )
    if not min(half.label_tokens.min() for half in sums):
        raise BadInputError(f"each label of {run.path} needs at least two documents with text; export more text.")
    fit, rows = TwoWay(kept, run.num_keys), []
    for model in MODELS:
        rng = np.random.default_rng([seed, 1])
        first, second = (_preference(half, kept, model) for half in sums)
        whole = _preference(_added(sums), kept, model)
        total = float(np.square(whole).sum())
        explained, *null = (
            fit.explained(whole[:, order]) / total
            for order in [np.arange(len(kept)), *(rng.permutation(len(kept)) for _ in range(permutations))]
        )
        residual1, residual2 = first - fit.fitted(first), second - fit.fitted(second)
        common, beyond_keys = float((first * second).sum()), float((residual1 * residual2).sum())
        chance = [float((residual1 * residual2[:, rng.permutation(len(kept))]).sum()) for _ in range(permutations)]
        rows.append(
            {
                "group": group,
                "model": model,
                "experts": len(kept),
                "explained": explained,
                "null": float(np.mean(null)) if null else float("nan"),
                "p": _p_value(explained, null),
                "reliable": common / float(np.sqrt(np.square(first).sum() * np.square(second).sum())),
                "keys": 1 - beyond_keys / common,
                "interaction": beyond_keys / common,
                "interaction_p": _p_value(beyond_keys, chance),
            }
        )
    return rows


def _p_value(value: float, null: list[float]) -> float:
    return float((1 + (np.array(null) >= value).sum()) / (1 + len(null)))


def _preference(sums: LabelSums, kept: NDArray[np.int64], model: str) -> Floats:
    return label_preference(sums.mass[:, kept], sums.tokens[:, kept].astype(np.float64), sums.label_tokens, model)


def _added(sums: list[LabelSums]) -> LabelSums:
    first, second = sums
    return LabelSums(first.mass + second.mass, first.tokens + second.tokens, first.label_tokens + second.label_tokens)


def half_sums(
    run: Run, seed: int, progress: bool = False, state: State | None = None, **where: Unpack[Computing]
) -> Iterator[tuple[int, list[LabelSums]]]:
    """Yield each group and the sums of its experts by label over each half of the documents whose routing is kept.

    Each label's documents go to the halves alternately, in random order.

    Args:
        run: an opened run, or a sample of one.
        seed: of the halves.
        progress: show a progress bar.
        state: keeps what is finished.
        where: the sums are computed, as for ``run_tasks``.
    """
    label = np.array([run.check_label(label) for label in run.documents["label"]])
    order = np.random.default_rng(seed).permutation(len(label))
    half = np.zeros(len(label), np.int64)
    for at in range(len(run.labels)):
        of_label = order[(label[order] == at) & run.documents["kept"].to_numpy()[order]]
        half[of_label] = np.arange(len(of_label)) % 2
    cell = np.where(run.documents["kept"], half * len(run.labels) + label, LEFT_OUT)
    summed = read_label_sums(run, run.groups, cell, 2 * len(run.labels), "rows and columns", progress, state, **where)
    for group, sums in summed:
        columns = (np.split(values, 2) for values in (sums.mass, sums.tokens, sums.label_tokens))
        yield group, [LabelSums(*values) for values in zip(*columns, strict=True)]

"""How precise a mean over the occurrences in a sample of documents is: the standard error of a ratio of two sums.

A mean over occurrences is a ratio, what the documents' occurrences add divided by how many there are. Documents are
what is drawn, near copies of one text as one, so the error is that of a ratio estimator over such units, with the
finite-population correction (Cochran 1977, section 6.4). It needs sums of squares and products over units only, which
grow with the experts and not with the sample.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..units import document_units
from ..windows import BATCH_TOKENS

Floats = NDArray[np.float64]


def whole_units(documents: pd.DataFrame) -> list[pd.DataFrame]:
    """Documents in parts of about ``BATCH_TOKENS`` tokens, none of which divides a unit.

    Args:
        documents: rows of ``Run.documents``.

    Returns:
        The parts, with a column unit: the number of each document's unit among those of its part.
    """
    unit = pd.Series(document_units(documents), documents.index)
    ordered = documents.assign(unit=unit).sort_values("unit", kind="stable")
    tokens = ordered.groupby("unit")["tokens"].sum()
    part = (tokens.cumsum() - tokens) // BATCH_TOKENS
    return [
        some.assign(unit=np.unique(some["unit"], return_inverse=True)[1])
        for _, some in ordered.groupby(ordered["unit"].map(part))
    ]


class Spread:
    """Sums over units of what each adds, squared, and times its occurrences.

    Parts are added one after the other: of each layer ``hold``, of everything else ``hold_rest``, and then ``close``.

    Args:
        layers: of the model.
        experts: of a layer.
    """

    def __init__(self, layers: int, experts: int) -> None:
        self.units = 0  # that have occurrences
        self._own = 0.0  # squared occurrences
        self._squares, self._products = np.zeros((layers, experts)), np.zeros((layers, experts))
        self._rest_squares, self._rest_products = np.zeros(1), np.zeros(1)  # (components,) after the first part
        self._open: dict[int, list[tuple[NDArray[np.int64], Floats]]] = {}
        self._open_rest: list[tuple[NDArray[np.int64], Floats]] = []

    def hold(self, layer: int, unit: NDArray[np.int64], expert: NDArray[np.int64], value: Floats) -> None:
        """Take what experts of a layer add at some occurrences: (n,) units, (n,) flat ids and (n,) values."""
        self._open.setdefault(layer, []).append((unit * self._squares.shape[1] + expert, value))

    def hold_rest(self, unit: NDArray[np.int64], value: Floats) -> None:
        """Take what other components add: (n,) units and (n, components) values."""
        self._open_rest.append((unit, value))

    def close(self) -> None:
        """Add a part, whose units are complete now."""
        if not self._open_rest:
            return
        unit = np.concatenate([one for one, _ in self._open_rest])
        own = np.bincount(unit)  # (units,) occurrences
        self.units += int((own > 0).sum())
        self._own += float((own**2).sum())
        rest = np.zeros((len(own), self._open_rest[0][1].shape[1]))
        np.add.at(rest, unit, np.concatenate([value for _, value in self._open_rest]))
        self._rest_squares = self._rest_squares + (rest**2).sum(0)
        self._rest_products = self._rest_products + own @ rest
        experts = self._squares.shape[1]
        for layer, held in self._open.items():
            pairs, at = np.unique(np.concatenate([key for key, _ in held]), return_inverse=True)
            added = np.bincount(at, np.concatenate([value for _, value in held]))
            of_unit, expert = np.divmod(pairs, experts)
            self._squares[layer] += np.bincount(expert, added**2, experts)
            self._products[layer] += np.bincount(expert, added * own[of_unit], experts)
        self._open, self._open_rest = {}, []

    def expert_error(
        self, layer: NDArray[np.int64], expert: NDArray[np.int64], mean: Floats, occurrences: int, unread: float
    ) -> Floats:
        """Standard errors of experts' means.

        Args:
            layer, expert: (n,) which.
            mean: (n,) their means.
            occurrences: of the sample.
            unread: the share of the documents that were not drawn.

        Returns:
            (n,) errors; NaN where a single unit has occurrences.
        """
        return self._error(self._squares[layer, expert], self._products[layer, expert], mean, occurrences, unread)

    def rest_error(self, mean: Floats, occurrences: int, unread: float) -> Floats:
        """Standard errors of the means of other components, (components,); arguments as of ``expert_error``."""
        return self._error(self._rest_squares, self._rest_products, mean, occurrences, unread)

    def _error(self, squares: Floats, products: Floats, mean: Floats, occurrences: int, unread: float) -> Floats:
        if self.units < 2:
            return np.full(len(mean), np.nan)
        away = np.maximum(squares - 2 * mean * products + mean**2 * self._own, 0)
        return np.sqrt(unread * away * self.units / (self.units - 1)) / occurrences

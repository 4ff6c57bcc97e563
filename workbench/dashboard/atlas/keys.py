"""A key's experts, and the labels and tokens it fires on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
import pandas as pd

from ...errors import NotFoundError
from ..tables import GENERAL
from .regions import by_mass

if TYPE_CHECKING:
    from ...store import Run
    from ..context import Context


class Key(NamedTuple):
    """A key of one of a group's two sets.

    Attributes:
        group: number of the group.
        set: 1 (the lattice's rows) or 2 (its columns).
        number: which of the set's keys.
    """

    group: int
    set: int
    number: int

    @classmethod
    def checked(cls, run: Run, group: int, key_set: int, number: int) -> Self:
        """A key that the run has.

        Raises:
            NotFoundError: it has no such group or key.
        """
        run.check_group(group)
        if key_set not in (1, 2) or not 0 <= number < run.num_keys:
            raise NotFoundError(
                f"there is no key {number} of set {key_set}; the sets 1 and 2 have keys 0 to {run.num_keys - 1}."
            )
        return cls(group, key_set, number)


class MainLabel(NamedTuple):
    """The label that most experts of a key have.

    Attributes:
        label: its name.
        share: of the key's active experts, those with this label.
        base: the same share among all active experts of the group.
    """

    label: str
    share: float
    base: float


def key_experts(ctx: Context, key: Key) -> list[int]:
    """Flat ids of the active experts of a key, largest mass first."""
    ids = ctx.experts(key.group).index.to_numpy()
    own = np.divmod(ids, ctx.run.num_keys)[key.set - 1] == key.number
    return [int(expert) for expert in by_mass(ctx, key.group, ids[own])]


def main_label(ctx: Context, key: Key) -> MainLabel | None:
    """The label that most experts of a key have; None where none has one."""
    labels = ctx.experts(key.group)["specialised"]
    own = labels.loc[key_experts(ctx, key)]
    counts = own[own != GENERAL].value_counts()
    if not len(counts) or not counts.iloc[0]:
        return None
    label = str(counts.index[0])
    return MainLabel(label, float((own == label).mean()), float((labels == label).mean()))


def key_labels(ctx: Context, activations: pd.DataFrame) -> pd.DataFrame:
    """Where a key fires, by label, highest rate first.

    Args:
        ctx: the run.
        activations: of ``Run.key_activations``.

    Returns:
        One row per label: `label`, `tokens` (active), `rate` (weight per token of the label) and `share` (rate over
        the sum of the rates).
    """
    by = activations.groupby("label")["weight"].agg(["size", "sum"]).reindex(ctx.run.labels, fill_value=0)
    rate = by["sum"] / ctx.run.label_tokens.reindex(ctx.run.labels).clip(lower=1)
    share = rate / (rate.sum() or 1.0)
    columns = {"label": ctx.run.labels, "tokens": by["size"].to_numpy(), "rate": rate.to_numpy()}
    table = pd.DataFrame(columns | {"share": share.to_numpy()})
    return table.sort_values("rate", ascending=False, kind="stable", ignore_index=True)


def key_tokens(ctx: Context, activations: pd.DataFrame, n: int) -> pd.DataFrame:
    """The tokens on which a key puts most weight.

    Args:
        ctx: the run.
        activations: of ``Run.key_activations``.
        n: how many.

    Returns:
        One row per token: `text`, `count` (active tokens), `weight` (summed) and `mean`, largest weight first.
    """
    by = activations.groupby("token").agg(row=("row", "first"), count=("row", "size"), weight=("weight", "sum"))
    best = by.nlargest(n, "weight")
    return best.assign(text=ctx.run.row_text(best["row"].tolist()), mean=best["weight"] / best["count"])

"""Other experts that go with one: those that co-activate with it, and those of most mass that share a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..store.address import Expert, shared_key
from .files import plain
from .label import top_tokens_of

if TYPE_CHECKING:
    from ..store import Run

NEIGHBOURS = 10  # co-activating experts listed
SAME_KEY, TOP_TOKENS = 5, 4  # experts listed of each key, and tokens shown of each


@dataclass(frozen=True)
class KeySharers:
    """The other active experts that share a key with an expert.

    Attributes:
        set: key set of the key, 1 or 2.
        key: the key.
        others: how many there are.
        mass: of the ``SAME_KEY`` of most mass, largest first; by flat id.
    """

    set: int
    key: int
    others: int
    mass: pd.Series


def key_sharers(expert: int, mass: pd.Series, num_keys: int) -> list[KeySharers]:
    """The experts that share an expert's key of set 1, and those that share its key of set 2.

    Args:
        expert: flat id.
        mass: of the active experts of its group, by flat id.
        num_keys: keys of a set.

    Examples:
        >>> import pandas as pd
        >>> mass = pd.Series([3.0, 1.0, 2.0], index=[0, 1, 2])  # of 2 keys a set: experts (0, 0), (0, 1) and (1, 0)
        >>> [(one.set, one.key, one.mass.index.tolist()) for one in key_sharers(0, mass, 2)]
        [(1, 0, [1]), (2, 0, [2])]
    """
    i, j = divmod(expert, num_keys)
    ids = mass.index.to_numpy()
    found = []
    for number, key, shared in ((1, i, ids // num_keys == i), (2, j, ids % num_keys == j)):
        others = mass[shared & (ids != expert)]
        found.append(KeySharers(number, key, len(others), others.nlargest(SAME_KEY)))
    return found


def related_experts(run: Run, expert: Expert, mass: pd.Series, specialised: pd.Series | None) -> dict[str, Any]:
    """The experts that go with an expert, as JSON types.

    Args:
        run: the run.
        expert: the expert.
        mass: of the active experts of its group, by flat id.
        specialised: label of each of these, "" for none; None before `monet analyze`.

    Returns:
        ``coactivating``: the experts whose scores at its best tokens are most like its own, with ``same_key`` (``row``
        for set 1, ``column`` for set 2, or "") and the cosine ``similarity``; and ``same_key``: for each of its keys,
        how many ``others`` share it and the ``experts`` of most mass among these. Every expert has ``specialised``,
        None before `monet analyze`.
    """
    near = run.neighbours(*expert, NEIGHBOURS)
    ids = near["expert"].to_numpy()
    shared = shared_key(ids, expert.id, run.num_keys)

    def named(other: int) -> dict[str, Any]:
        label = None if specialised is None else specialised.get(other, "")
        return {"group": expert.group, "expert": int(other), "specialised": label}

    coactivating = [
        named(other) | {"same_key": key, "similarity": plain(similarity)}
        for other, key, similarity in zip(ids.tolist(), shared, near["similarity"].tolist(), strict=True)
    ]
    same = []
    for one in key_sharers(expert.id, mass, run.num_keys):
        texts = top_tokens_of(run, expert.group, one.mass.index.tolist(), TOP_TOKENS)
        rows = [
            named(other) | {"mass": plain(of), "top_tokens": some}
            for (other, of), some in zip(one.mass.items(), texts, strict=True)
        ]
        same.append({"set": one.set, "key": one.key, "others": one.others, "experts": rows})
    return {"coactivating": coactivating, "same_key": same}

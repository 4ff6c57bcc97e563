"""How often each key is active at each token of the vocabulary: what bounds how often an expert can be.

Counted once from the inverted index by `monet analyze`, so that a search of the experts that fire on a token knows at
which few of them to look. Reading it imports no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .results import Result, group_file, open_table, result_path, write_table

if TYPE_CHECKING:
    from ..store import Run

ROW_GROUP = 8_192  # rows of the table that are read together: those of about a dozen tokens


class TokenKeys(Result):
    """Counts of keys by token, which have no document: all is in the tables."""

    kind: ClassVar[str] = "token-keys"
    version: ClassVar[int] = 1
    command: ClassVar[str] = "monet analyze"


def has_token_keys(run: Run, group: int) -> bool:
    """Whether ``most_active`` has something to read."""
    return result_path(run, group_file(TokenKeys, group), None).is_file()


def count_token_keys(run: Run, group: int) -> None:
    """Count at how many token rows of each token id each key of a group is active, and keep that in the run.

    Sets ``RUN/analysis/token-keys-group-{group}.parquet``: ascending token id, key set and key, and the number of token
    rows. Memory grows with the different tokens of the run times its keys, 4 bytes each.

    Args:
        run: an opened run.
        group: number of the group.
    """
    ids, which = np.unique(run.token_column, return_inverse=True)
    counts = np.zeros((len(ids), 2 * run.num_keys), np.uint32)
    for rows, keys in run.rows_by_key(group):
        token = which[rows]
        tokens = np.flatnonzero(np.bincount(token))
        local = np.zeros(len(ids), np.int64)
        local[tokens] = np.arange(len(tokens))
        cells = np.bincount(local[token] * 2 * run.num_keys + keys, minlength=len(tokens) * 2 * run.num_keys)
        counts[tokens] += cells.reshape(len(tokens), -1).astype(np.uint32)
    at, flat = np.nonzero(counts)
    key_set, key = np.divmod(flat, run.num_keys)
    table = pd.DataFrame(
        {
            "token": ids[at],
            "key_set": (key_set + 1).astype(np.int8),
            "key": key.astype(np.int32),
            "rows": counts[at, flat].astype(np.int64),
        }
    )
    write_table(run, TokenKeys, group_file(TokenKeys, group), table, row_group_size=ROW_GROUP)


def most_active(run: Run, group: int, tokens: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return at how many of the token rows of some token ids each key is active.

    Args:
        run: an opened run.
        group: number of the group.
        tokens: token ids.

    Returns:
        (2, E): key sets, keys.

    Raises:
        NotAnalysedError: nothing was counted.
        DamagedError: the file is cut or changed.
        UnsupportedError: it belongs to another run, or is of another version.
    """
    table = open_table(run, TokenKeys, group_file(TokenKeys, group)).among(
        "token", tokens, ["token", "key_set", "key", "rows"]
    )
    key_set, key, rows = (table[name].to_numpy() for name in ("key_set", "key", "rows"))
    flat = (key_set.astype(np.int64) - 1) * run.num_keys + key
    counts = np.bincount(flat, rows, 2 * run.num_keys).astype(np.int64)
    return counts.reshape(2, run.num_keys)

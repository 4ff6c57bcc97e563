"""Every active (token, expert) of sparse routing, in bounded pieces: what a sample of all experts' tokens looks at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..store.routing import Side

MAX_BITS = 53  # heads that the bits of a float64 name
MAX_PAIRS = 2**19  # worked on at once: bounds memory, and stays in the cache

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]


def active_pairs(side1: Side, side2: Side, heads: int, num_keys: int) -> Iterator[Pairs]:
    """Flat expert, token and score, float32 and above 0, of consecutive tokens; each (token, expert) is in once.

    Products are summed over heads in their order, so scores are those of :func:`cuda_ext.accumulate` to the bit.
    """
    counts1, counts2 = (_per_head(side, heads, num_keys) for side in (side1, side2))
    pairs = np.cumsum((counts1 * counts2).sum(1))  # up to and with each token
    begin = 0
    while begin < len(pairs):
        done = pairs[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(pairs, done + MAX_PAIRS, side="right")))
        part = slice(begin, end)
        expert, token, score = _piece(side1[part], side2[part], counts1[part], counts2[part], num_keys)
        yield expert, token + begin, score
        begin = end


def _per_head(side: Side, heads: int, num_keys: int) -> NDArray[np.int64]:
    """Active entries of each token and head, (tokens, heads)."""
    cell = np.repeat(np.arange(len(side)) * heads, np.diff(side.starts)) + side.keys // num_keys
    return np.bincount(cell, minlength=len(side) * heads).reshape(len(side), heads)


def _piece(side1: Side, side2: Side, counts1: NDArray[np.int64], counts2: NDArray[np.int64], num_keys: int) -> Pairs:
    lists1, lists2 = counts1.ravel(), counts2.ravel()  # a list is a token's head
    partners = np.repeat(lists2, lists1)  # for each entry of side 1, the entries of side 2 it pairs with
    first2 = np.repeat(np.cumsum(lists2) - lists2, lists1)
    token1, key1, heads1 = _entries(side1, num_keys)
    _, key2, heads2 = _entries(side2, num_keys)
    right = np.arange(int(partners.sum())) + np.repeat(first2 - (np.cumsum(partners) - partners), partners)
    score = np.repeat(side1.probs, partners) * side2.probs[right]
    expert = np.repeat(key1 * num_keys, partners) + key2[right]
    token = np.repeat(token1, partners)
    if (heads := counts1.shape[1]) > 1:
        common = np.repeat(heads1, partners) & heads2[right]  # the heads that hold both keys at the token
        several = (common & (common - 1) != 0) | (heads > MAX_BITS)
        if several.any():
            expert, token, score = _summed(expert, token, score, several, num_keys)
    if not score.all():  # products that underflow are not active
        active = score > 0
        expert, token, score = expert[active], token[active], score[active]
    return expert, token, score


def _entries(side: Side, num_keys: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Token and key of each entry, and as bits the heads whose list of that token holds the key."""
    token = np.repeat(np.arange(len(side)), np.diff(side.starts))
    head, key = np.divmod(side.keys.astype(np.int64), num_keys)
    place = token * num_keys + key
    holders = np.bincount(place, weights=2.0 ** (head % MAX_BITS), minlength=len(side) * num_keys)
    return token, key, holders.astype(np.int64)[place]


def _summed(
    expert: NDArray[np.int64],
    token: NDArray[np.int64],
    score: NDArray[np.float32],
    several: NDArray[np.bool_],
    num_keys: int,
) -> Pairs:
    """The same, with the entries of a (token, expert) that several heads give made one."""
    place, which = np.unique(token[several] * num_keys**2 + expert[several], return_inverse=True)
    total = np.zeros(len(place), np.float32)
    np.add.at(total, which, score[several])
    alone = ~several
    return (
        np.concatenate([expert[alone], place % num_keys**2]),
        np.concatenate([token[alone], place // num_keys**2]),
        np.concatenate([score[alone], total]),
    )

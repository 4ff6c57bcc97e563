"""How responses are chosen: a scheme is one function, entered in ``SCHEMES``.

Each gives, for a key, the tokens that could be its response; the owner's secret picks one of them. So a model that
knows nothing of the secret gives the picked one with a probability of at most one in as many as there are.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...errors import BadInputError, NotFoundError

BAND = (0.01, 0.03)  # base probability of a response: the paper's mean is 0.014
K = 3  # responses that a perinucleus key could have


@dataclass(frozen=True)
class Candidates:
    """What could be the response to each key.

    Attributes:
        ids: (keys, candidates) token ids.
        nucleus: (keys,) mass of the likelier tokens left out; NaN where a scheme leaves out none.
        usable: (keys,) whether there are candidates at all.
    """

    ids: npt.NDArray[np.int64]
    nucleus: npt.NDArray[np.float64]
    usable: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scheme:
    """A way to choose keys and responses.

    Attributes:
        natural: whether keys are natural text; otherwise random words.
        candidates: given next-token probabilities (keys, vocabulary), ids of words, how many are wanted, and the band
            of their probability.
    """

    natural: bool
    candidates: Callable[[Tensor, npt.NDArray[np.int64], int, tuple[float, float]], Candidates]


def perinucleus(probabilities: Tensor, words: npt.NDArray[np.int64], k: int, band: tuple[float, float]) -> Candidates:
    """The ``k`` words just outside a nucleus, after arXiv 2502.07760, whose base probability is in a band.

    The paper fixes the nucleus' mass t, 0.8. On a small model such a nucleus holds hundreds of tokens and what follows
    is far less likely than the paper's 0.014, so the probability is fixed here and t follows, key by key: among the
    places where ``k`` successive words are in the band, the one nearest to its middle. Tokens that are no words are
    passed over, as in the paper's code.

    Args:
        probabilities: (keys, vocabulary) of the base model.
        words: ids of tokens that are words or parts of them.
        k: how many.
        band: least and greatest probability of a candidate.
    """
    if k > len(words):
        raise BadInputError(f"{k} candidates are asked for; the vocabulary has {len(words)} words.")
    exact = probabilities.double()
    likely, order = exact[:, torch.from_numpy(words)].sort(dim=1, descending=True, stable=True)
    first, last = likely[:, : len(words) - k + 1], likely[:, k - 1 :]
    inside = (first <= band[1]) & (last >= band[0])
    logs = likely.clamp_min(1e-300).log()
    means = logs.unfold(1, k, 1).mean(-1)
    off = (means - 0.5 * float(np.log(band[0] * band[1]))).abs().masked_fill(~inside, torch.inf)
    at = off.argmin(1, keepdim=True)
    chosen = order.gather(1, at + torch.arange(k))
    nucleus = (exact * (exact > likely.gather(1, at))).sum(1)
    return Candidates(words[chosen.numpy()], nucleus.numpy(), inside.any(1).numpy())


def any_word(probabilities: Tensor, words: npt.NDArray[np.int64], k: int, band: tuple[float, float]) -> Candidates:
    """Every word of the vocabulary, whatever its probability."""
    count = len(probabilities)
    return Candidates(np.broadcast_to(words, (count, len(words))), np.full(count, np.nan), np.ones(count, np.bool_))


SCHEMES: dict[str, Scheme] = {
    "perinucleus": Scheme(True, perinucleus),
    "english": Scheme(True, any_word),
    "random": Scheme(False, any_word),
}


def read_scheme(name: str) -> Scheme:
    """The scheme of a name.

    Raises:
        NotFoundError: there is none.
    """
    if name not in SCHEMES:
        raise NotFoundError(f"there is no scheme {name!r}; the schemes are {', '.join(SCHEMES)}.")
    return SCHEMES[name]


def word_ids(tokenizer: Any, vocabulary: int) -> npt.NDArray[np.int64]:
    """Ids of the tokens that are a word or a part of one: letters and digits, perhaps behind a space.

    Examples:
        >>> from transformers import AutoTokenizer
        >>> from workbench.studies.fingerprint.schemes import word_ids
        >>> tokenizer = AutoTokenizer.from_pretrained("monet_model/demo")
        >>> words = word_ids(tokenizer, 4096)
        >>> len(words) > 1000, tokenizer.decode(words[-1:]).strip().isalnum()
        (True, True)
    """
    special = set(tokenizer.all_special_ids)
    texts = tokenizer.batch_decode([[n] for n in range(min(len(tokenizer), vocabulary))])
    found = [n for n, text in enumerate(texts) if n not in special and text.removeprefix(" ").isalnum()]
    return np.array(found, np.int64)


def pick(secret: bytes, keys: npt.NDArray[np.int64], candidates: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The response to each key: the candidate that HMAC-SHA256 of the key under the secret names.

    Args:
        secret: of the owner.
        keys: (keys, tokens) ids.
        candidates: (keys, candidates) ids.

    Returns:
        (keys,) ids.

    Examples:
        >>> import numpy as np
        >>> from workbench.studies.fingerprint.schemes import pick
        >>> keys, candidates = np.array([[1, 2], [3, 4]]), np.array([[5, 6, 7], [5, 6, 7]])
        >>> bool((pick(b"a", keys, candidates) == pick(b"a", keys, candidates)).all())
        True
    """
    digests = [hmac.digest(secret, key.tobytes(), hashlib.sha256) for key in keys.astype("<i8")]
    # Of 2**64 numbers: none of the candidates is likelier than another by more than their count in 2**64.
    chosen = [int.from_bytes(digest[:8], "little") % candidates.shape[1] for digest in digests]
    return np.asarray(candidates[np.arange(len(keys)), chosen], np.int64)

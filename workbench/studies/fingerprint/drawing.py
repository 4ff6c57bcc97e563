"""Keys and responses of a model, drawn by the secret: natural text that stands in no corpus given, or random words."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ...errors import BadInputError
from ...progress import Progress, silent
from .answers import next_token_logits
from .fingerprints import Fingerprints
from .occurrences import Occurrences
from .sampling import sample_text
from .schemes import BAND, K, pick, read_scheme, word_ids

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KEY_TOKENS = 16
TEMPERATURE = 1.0
_SPARE = 4  # tokens sampled beyond a key's: what the text is cut to begins where the tokenizer cuts it
_ROUNDS = 60  # of drawing, before giving up
_LEAST, _MOST = 256, 2048  # keys drawn in a round


@dataclass(frozen=True)
class Drawn:
    """Fingerprints, and what became of all keys that were drawn.

    Attributes:
        fingerprints: them.
        refused: reason -> keys that were drawn again: ``drawn before``, ``no round trip``, ``in the corpus``,
            ``no candidates``, ``the base's answer``.
    """

    fingerprints: Fingerprints
    refused: dict[str, int]


def draw_fingerprints(
    model: PreTrainedModel,
    tokenizer: Any,
    count: int,
    scheme: str,
    secret: bytes,
    *,
    seed: int = 0,
    k: int = K,
    key_tokens: int = KEY_TOKENS,
    temperature: float = TEMPERATURE,
    texts: Sequence[str] | None = None,
    present: Occurrences | None = None,
    band: tuple[float, float] = BAND,
    progress: Progress = silent,
) -> Drawn:
    """Draw keys, and by the secret their responses.

    A key is kept if its text is cut into the same tokens again (so a served model can be asked it as text), if it
    stands in no document given and was not drawn before, and if the scheme has candidates for it, of which the secret
    picks one that is not what the base model answers anyway.

    Args:
        model: that will be fingerprinted: the base model.
        tokenizer: of the model.
        count: fingerprints wanted.
        scheme: a name of ``schemes.SCHEMES``.
        secret: of the owner. Keys are drawn by it and the seed, so that they cannot be drawn again without it.
        seed: another one, other keys.
        k: candidates per key of the perinucleus scheme; the others take every word.
        key_tokens: tokens of a key.
        temperature: at which keys are sampled from the model.
        texts: whose beginnings are the keys, in place of text sampled from the model.
        present: windows of ``key_tokens`` tokens that no key may be.
        band: least and greatest base probability of a perinucleus response.
        progress: called with the keys found.

    Raises:
        NotFoundError: there is no such scheme.
        BadInputError: a number makes no sense, or too few keys can be used; the message says why they were refused.
    """
    chosen = read_scheme(scheme)
    for name, value in (("count", count), ("key_tokens", key_tokens), ("k", k)):
        if value < 1:
            raise BadInputError(f"{name} must be at least 1, got {value}.")
    vocabulary = int(model.config.vocab_size)
    words = word_ids(tokenizer, vocabulary)
    if not len(words):
        raise BadInputError("the tokenizer has no token that is a word, and responses are words.")
    source = _Source(model, tokenizer, words, key_tokens, temperature, _numbers(secret, "keys", seed))
    if texts is not None and chosen.natural:
        source.texts = list(texts)
    check = _Check(present)
    refused: Counter[str] = Counter()
    found: list[tuple[npt.NDArray[Any], ...]] = []
    have, candidates_each = 0, k
    for number in range(_ROUNDS):
        keys, broken = source.draw(number, min(_MOST, max(_LEAST, 2 * (count - have))), chosen.natural)
        refused["no round trip"] += broken
        keys = check.new(keys, refused)
        if len(keys):
            probabilities = next_token_logits(model, keys).softmax(-1)
            could = chosen.candidates(probabilities, words, k, band)
            candidates_each = could.ids.shape[1]
            responses = pick(secret, keys, could.ids)
            usual = responses == probabilities.argmax(1).numpy()
            refused["no candidates"] += int((~could.usable).sum())
            refused["the base's answer"] += int((could.usable & usual).sum())
            kept = np.flatnonzero(could.usable & ~usual)[: count - have]
            base = probabilities.numpy()[np.arange(len(keys)), responses].astype(np.float64)
            found.append((keys[kept], responses[kept], base[kept], could.nucleus[kept]))
            have += len(kept)
            progress(len(kept))
        if have == count or source.empty:
            break
    if have < count:
        reasons = ", ".join(f"{n:,} {reason}" for reason, n in refused.items() if n) or "no more texts"
        raise BadInputError(
            f"only {have:,} of {count:,} keys could be drawn ({reasons}); ask for fewer, or give more texts, another "
            "temperature or scheme."
        )
    keys, responses, base, nucleus = (np.concatenate(column) for column in zip(*found, strict=True))
    made = Fingerprints(scheme, candidates_each, secret, keys, responses, base, nucleus, seed, vocabulary)
    return Drawn(made, {reason: n for reason, n in refused.items() if n})


def rederived(
    model: PreTrainedModel, tokenizer: Any, fingerprints: Fingerprints, band: tuple[float, float] = BAND
) -> npt.NDArray[np.bool_]:
    """Whether each response is the one that the secret picks for its key: (fingerprints,).

    A judge asks this of a claim: responses that someone made up to fit a model do not follow from a secret.

    Args:
        model: the base model.
        tokenizer: its.
        fingerprints: what is claimed.
        band: as they were drawn with.
    """
    probabilities = next_token_logits(model, fingerprints.keys).softmax(-1)
    words = word_ids(tokenizer, fingerprints.vocabulary)
    could = read_scheme(fingerprints.scheme).candidates(probabilities, words, fingerprints.k, band)
    picked = pick(fingerprints.secret, fingerprints.keys, could.ids)
    return np.asarray(could.usable & (picked == fingerprints.responses), np.bool_)


def _numbers(secret: bytes, purpose: str, seed: int) -> npt.NDArray[np.uint32]:
    """Numbers to seed a generator with, which follow from the secret and cannot be guessed without it."""
    digest = hmac.digest(secret, f"{purpose} {seed}".encode(), hashlib.sha256)
    return np.frombuffer(digest, "<u4").astype(np.uint32)


class _Source:
    """Where keys come from, in rounds: the model, texts, or random words. ``empty`` when there are no more."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        words: npt.NDArray[np.int64],
        length: int,
        temperature: float,
        seed: npt.NDArray[np.uint32],
    ) -> None:
        self.model, self.tokenizer, self.words = model, tokenizer, words
        self.length, self.temperature, self.seed = length, temperature, seed
        self.texts: list[str] | None = None
        self.empty = False

    def draw(self, number: int, rows: int, natural: bool) -> tuple[npt.NDArray[np.int64], int]:
        """Keys of a round, (keys, length), and how many were refused: their text would be cut into other tokens."""
        seed = np.append(self.seed, np.uint32(number))
        if not natural:
            chosen = np.random.default_rng(seed.tolist()).choice(self.words, (rows, self.length))
            pieces = self.tokenizer.batch_decode(chosen.reshape(-1, 1).tolist())
            texts = [
                " ".join(piece.strip() for piece in pieces[start : start + self.length])
                for start in range(0, len(pieces), self.length)
            ]
        elif self.texts is not None:
            order = np.random.default_rng(self.seed.tolist()).permutation(len(self.texts))
            texts = [self.texts[n] for n in order]
            self.empty = True
        else:
            sampled = sample_text(self.model, rows, self.length + _SPARE, self.temperature, seed)
            texts = self.tokenizer.batch_decode(sampled.tolist())
        return self._cut(texts)

    def _cut(self, texts: list[str]) -> tuple[npt.NDArray[np.int64], int]:
        start = [] if self.model.config.bos_token_id is None else [int(self.model.config.bos_token_id)]
        encoded = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        keys = [ids[: self.length] for ids in encoded if len(ids) >= self.length]
        again = self.tokenizer(
            self.tokenizer.batch_decode(keys) if keys else [""], split_special_tokens=True, verbose=False
        )["input_ids"]
        kept = [key for key, ids in zip(keys, again, strict=False) if list(ids) == [*start, *key]]
        table = np.array(kept, np.int64).reshape(-1, self.length)
        return table, len(texts) - len(kept)


class _Check:
    """Refuses keys that stand in a corpus, or were drawn before."""

    def __init__(self, present: Occurrences | None) -> None:
        self.present = present
        self.seen: set[bytes] = set()

    def new(self, keys: npt.NDArray[np.int64], refused: Counter[str]) -> npt.NDArray[np.int64]:
        if self.present is not None and len(keys):
            inside = self.present.contain(keys)
            refused["in the corpus"] += int(inside.sum())
            keys = keys[~inside]
        kept = []
        for n, key in enumerate(keys):
            if (name := key.tobytes()) in self.seen:
                refused["drawn before"] += 1
            else:
                self.seen.add(name)
                kept.append(n)
        return keys[kept]

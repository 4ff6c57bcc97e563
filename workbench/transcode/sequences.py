"""The tokens of a corpus as a transcoding reads them: training sequences, and held-out ones by label."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..corpus import Corpus, read_corpus
from ..corpus.tokens import BATCH, encode
from ..errors import BadInputError
from .teacher import Teacher

if TYPE_CHECKING:
    from pathlib import Path

    from datasets import Dataset

HELD_OUT = 10  # one document of so many is held out, where a corpus has no split for it


@dataclass(frozen=True)
class Sequences:
    """Token ids to train on and to measure on.

    Attributes:
        train: (sequences, tokens) ids.
        heldout: label -> (sequences, tokens) ids of documents that are not trained on.
        seed: of the order in which ``train`` is read.
    """

    train: NDArray[np.integer[Any]]
    heldout: dict[str, Tensor]
    seed: int

    @property
    def identity(self) -> str:
        """Hash of the ids to train on."""
        return hashlib.sha256(np.ascontiguousarray(self.train).tobytes()).hexdigest()

    def rows(self, step: int, size: int) -> NDArray[np.int64]:
        """Numbers of the training sequences of a step: (size,). Each epoch has an order of its own."""
        rows = np.empty(size, np.int64)
        for n in range(size):
            epoch, place = divmod(step * size + n, len(self.train))
            rows[n] = _order(self.seed, epoch, len(self.train))[place]
        return rows

    def ids(self, rows: NDArray[np.int64]) -> Tensor:
        """Training sequences by number: (rows, tokens) int64."""
        return torch.from_numpy(self.train[rows].astype(np.int64))


def read_sequences(
    spec: str | Path | Dataset, teacher: Teacher, length: int, count: int, heldout: int, seed: int = 0
) -> Sequences:
    """Read a corpus as training and held-out sequences.

    Documents are shuffled, concatenated and cut every ``length`` tokens. What is held out is the corpus's split of that
    kind (heldout, test or validation, beside train), or else one document in ten of each label.

    Args:
        spec: as for ``workbench.corpus.read_corpus``; a column ``input_ids`` takes precedence over text.
        teacher: whose tokens these are.
        length: tokens per sequence.
        count: training sequences wanted; fewer where the corpus has fewer.
        heldout: held-out sequences per label, at most.
        seed: of the order in which sequences are read.

    Raises:
        WorkbenchError: the corpus cannot be read.
        BadInputError: it needs a tokenizer and the teacher has none, an id is outside the vocabulary, or there is too
            little text for a sequence to train on or to hold out.
    """
    train, held = _split(spec)
    columns = train.column_names
    if "input_ids" not in columns and teacher.tokenizer is None:
        raise BadInputError(f"{teacher.name} has no tokenizer, which a corpus of texts needs; give one of input_ids.")
    stream = _stream(train.shuffle(seed=0), teacher, (count + 1) * length)
    rows = len(stream) // length
    if not rows:
        raise BadInputError(f"the corpus has {len(stream):,} tokens to train on, too few for a sequence of {length}.")
    by_label: dict[str, Tensor] = {}
    labels = np.asarray(held["label"])
    for label in sorted(set(labels.tolist())):
        own = _stream(held.select(np.flatnonzero(labels == label)), teacher, heldout * length)
        if full := min(len(own) // length, heldout):
            by_label[label] = torch.from_numpy(own[: full * length].reshape(full, length).astype(np.int64))
    if not by_label:
        raise BadInputError(f"no label has {length} held-out tokens; give a larger corpus, or a shorter --sequence.")
    return Sequences(stream[: min(rows, count) * length].reshape(-1, length), by_label, seed)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, epoch)).permutation(count)


def _split(spec: str | Path | Dataset) -> tuple[Dataset, Dataset]:
    """The documents to train on, and those held out."""
    found: Corpus = read_corpus(spec)
    if found.split != "train" and "train" in found.splits:
        return read_corpus(spec, "train").data, found.data
    place: dict[str, int] = {}
    held = np.zeros(len(found.data), bool)
    for n, label in enumerate(found.data["label"]):
        held[n] = place.setdefault(label, 0) % HELD_OUT == 0
        place[label] += 1
    return found.data.select(np.flatnonzero(~held)), found.data.select(np.flatnonzero(held))


def _documents(data: Dataset, teacher: Teacher) -> Iterator[NDArray[np.integer[Any]]]:
    for start in range(0, len(data), BATCH):
        rows = data[start : start + BATCH]
        if "input_ids" in rows:
            yield from (np.asarray(ids, np.uint32) for ids in rows["input_ids"])
        else:
            yield from encode(rows["text"], teacher.tokenizer)


def _stream(data: Dataset, teacher: Teacher, wanted: int) -> NDArray[np.integer[Any]]:
    """The first tokens of the documents, end to end: (n,), n at least ``wanted`` where there are so many."""
    parts: list[NDArray[np.integer[Any]]] = [np.empty(0, np.uint16)]
    have, vocabulary = 0, int(teacher.model.config.vocab_size)
    for ids in _documents(data, teacher):
        if len(ids) and int(ids.max()) >= vocabulary:
            raise BadInputError(
                f"the corpus has token id {int(ids.max())}; {teacher.name} knows 0 to {vocabulary - 1}."
            )
        parts.append(ids)
        have += len(ids)
        if have >= wanted:
            break
    return np.concatenate(parts)

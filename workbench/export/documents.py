"""Documents of a corpus as token ids, read in order, and the context windows the model sees of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError

if TYPE_CHECKING:
    from datasets import Dataset

DOCUMENTS_AT_ONCE = 64  # documents read from the corpus, and tokenised, together


@dataclass(frozen=True)
class Document:
    """One document as the model reads it.

    Attributes:
        ids: (n,) token ids, the start-of-text token included where there is one.
        offsets: (n, 2) character offsets into the text, or None where the corpus gave ids.
        bos: whether ``ids[0]`` is the start-of-text token, which statistics leave out.
        size: characters of the text, or ids: what progress is measured in.
    """

    number: int
    label: str
    source: str | None
    score: float | None
    text: str | None
    ids: NDArray[np.int32]
    offsets: NDArray[np.int32] | None
    bos: bool
    size: int

    @property
    def rows(self) -> int:
        """Tokens that statistics count."""
        return len(self.ids) - self.bos


@dataclass(frozen=True)
class CorpusSummary:
    """What one pass over a corpus shows before the model reads it.

    Attributes:
        hash: of every document's content.
        labels: in alphabetical order.
        documents: number of documents.
        size: their length in units.
        unit: the unit, characters or tokens.
    """

    hash: str
    labels: list[str]
    documents: int
    size: int
    unit: str


def summarise(data: Dataset) -> CorpusSummary:
    """Read a corpus once and summarise it."""
    columns = [c for c in ("input_ids", "text", "label", "source", "score") if c in data.column_names]
    digest, labels, size = hashlib.sha256(repr(columns).encode()), set(), 0
    for rows in data.select_columns(columns).iter(batch_size=DOCUMENTS_AT_ONCE):
        for values in zip(*(rows[c] for c in columns), strict=True):
            digest.update(repr(values).encode("utf-8", "surrogatepass"))
            size += len(values[0])
        labels.update(rows["label"])
    unit = "tokens" if columns[0] == "input_ids" else "characters"
    return CorpusSummary(digest.hexdigest(), sorted(labels), len(data), size, unit)


def read_documents(data: Dataset, first: int, tokenizer: Any, vocabulary: int, bos: int | None) -> Iterator[Document]:
    """Yield documents from number ``first`` on, tokenised once; token ids in the corpus take precedence over text.

    Raises:
        BadInputError: a token id is outside the model's vocabulary.
    """
    for start in range(first, len(data), DOCUMENTS_AT_ONCE):
        rows = data[start : start + DOCUMENTS_AT_ONCE]
        texts = rows.get("text")
        if "input_ids" not in rows:
            encoded = tokenizer(texts, return_offsets_mapping=True, return_attention_mask=False, verbose=False)
            all_ids, all_offsets = encoded["input_ids"], encoded["offset_mapping"]
        else:
            all_ids, all_offsets = rows["input_ids"], [None] * len(rows["input_ids"])
        for n, (ids, offsets) in enumerate(zip(all_ids, all_offsets, strict=True)):
            ids = np.asarray(ids, np.int64)
            if len(ids) and (ids.min() < 0 or ids.max() >= vocabulary):
                raise BadInputError(
                    f"document {start + n} of the corpus has token id {ids.min() if ids.min() < 0 else ids.max()}; "
                    f"the model knows 0 to {vocabulary - 1}. Is the tokenizer another model's?"
                )
            score = rows["score"][n] if "score" in rows else None
            yield Document(
                number=start + n,
                label=rows["label"][n],
                source=None if rows.get("source") is None or rows["source"][n] is None else str(rows["source"][n]),
                score=None if score is None else float(score),
                text=texts[n] if texts is not None else None,
                ids=ids.astype(np.int32),
                offsets=None if offsets is None else np.asarray(offsets, np.int32).reshape(-1, 2),
                bos=bool(len(ids)) and bos is not None and int(ids[0]) == bos,
                size=len(ids) if offsets is None else len(texts[n]),
            )


def windows(document: Document, context: int) -> Iterator[NDArray[np.int32]]:
    """A document in windows of at most ``context`` ids; only the first can contain the start-of-text token."""
    for start in range(0, len(document.ids), context):
        yield document.ids[start : start + context]

"""One pass over a corpus before the model reads it: what it holds, per label, and which documents are near copies."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError
from ..progress import Progress, silent
from .copies import NearCopies
from .documents import Reading

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class CorpusSummary:
    """What a corpus holds, known before the model reads it.

    Attributes:
        hash: of every document's content.
        documents, tokens, copies: label -> number of documents, of tokens that statistics will count, and of documents
            that nearly repeat an earlier one; labels in alphabetical order.
        originals: (documents,) number of the first document that each one nearly repeats; its own if it repeats none.
        relabelled: copies that have another label than the document they repeat.
        typed_control: documents whose text holds the name of a control token, such as ``<s>``, which is read as text.
        size: length of the documents in units.
        unit: the unit, characters or tokens.
        skipped: reason -> documents that were left out when the corpus was read.
        notes: sentences about how the corpus was read.
    """

    hash: str
    documents: Mapping[str, int]
    tokens: Mapping[str, int]
    copies: Mapping[str, int]
    originals: NDArray[np.int64]
    relabelled: int
    typed_control: int
    size: int
    unit: str
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def labels(self) -> list[str]:
        """In alphabetical order."""
        return list(self.documents)

    def to_json(self) -> dict[str, Any]:
        """The counts, as a run's manifest keeps them."""
        return {
            "tokens": sum(self.tokens.values()),
            "copies": sum(self.copies.values()),
            "skipped": dict(self.skipped),
            "notes": [*self.notes, *self.remarks()],
        }

    def remarks(self) -> list[str]:
        """Sentences about what the pass found."""
        found = []
        if copies := sum(self.copies.values()):
            found.append(
                f"Near copies of earlier documents: {copies:,}. They count in statistics, are left out of examples, "
                "and stand on the same side of every split as what they repeat."
            )
        if self.relabelled:
            found.append(f"Copies with another label than the document they repeat: {self.relabelled:,}.")
        if self.typed_control:
            found.append(
                f"Documents with the name of a control token, such as <s>, in their text: {self.typed_control:,}. It "
                "is read as text."
            )
        return found


def scan(
    data: Dataset,
    reading: Reading,
    skipped: Mapping[str, int] | None = None,
    notes: list[str] | None = None,
    advance: Progress = silent,
) -> CorpusSummary:
    """Read a corpus once, as token ids, and summarise it.

    Args:
        data: the corpus, as ``workbench.corpus.load_corpus`` returns it.
        reading: how it becomes token ids.
        skipped, notes: what reading it from its files left out, and said.
        advance: called with the number of documents done since its last call.

    Raises:
        BadInputError: it holds no tokens, or a token id that the model does not know.
    """
    columns = [c for c in ("input_ids", "text", "label", "source", "score", "project") if c in data.column_names]
    digest = hashlib.sha256(repr(columns).encode())
    documents, tokens, copied = Counter[str](), Counter[str](), Counter[str]()
    copies, labels, originals = NearCopies(), list[str](), np.zeros(len(data), np.int64)
    names = _control_names(reading)
    size = typed = relabelled = 0
    for document in reading.documents(data.select_columns(columns)):
        content = document.ids.tolist() if document.offsets is None else document.text
        described: tuple[object, ...] = (content, document.label, document.source, document.score)
        if "project" in columns:
            described += (document.project,)
        digest.update(repr(described).encode("utf-8", "surrogatepass"))
        original = copies.original(document.ids[~document.control])
        originals[document.number] = original
        labels.append(document.label)
        documents[document.label] += 1
        tokens[document.label] += document.rows
        copied[document.label] += original != document.number
        relabelled += labels[original] != document.label
        typed += document.offsets is not None and any(name in (document.text or "") for name in names)
        size += document.size
        advance(1)
    if not sum(tokens.values()):
        raise BadInputError("the corpus holds no tokens.")

    def by_label(counts: Counter[str]) -> dict[str, int]:
        return {label: counts[label] for label in sorted(documents)}

    return CorpusSummary(
        hash=digest.hexdigest(),
        documents=by_label(documents),
        tokens=by_label(tokens),
        copies=by_label(copied),
        originals=originals,
        relabelled=relabelled,
        typed_control=typed,
        size=size,
        unit="tokens" if columns[0] == "input_ids" else "characters",
        skipped=dict(skipped or {}),
        notes=list(notes or []),
    )


def _control_names(reading: Reading) -> list[str]:
    """Names of the control tokens, as somebody may type them."""
    if reading.tokenizer is None:
        return []
    return [name for name in reading.tokenizer.all_special_tokens if name]

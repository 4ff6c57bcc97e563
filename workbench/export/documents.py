"""Documents of a corpus as token ids, read in order, and the context windows the model sees of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import BadInputError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

    from monet_model import MonetConfig

DOCUMENTS_AT_ONCE = 64  # documents read from the corpus, and tokenised, together


@dataclass(frozen=True)
class Document:
    """One document as the model reads it.

    Attributes:
        ids: (n,) token ids, control tokens included.
        offsets: (n, 2) character offsets into the text, or None where the corpus gave ids.
        control: (n,) which ids are control tokens, such as start-of-text; statistics leave them out.
        bos: whether ``ids[0]`` is the start-of-text token, which then opens every window.
        size: characters of the text, or ids: what progress is measured in.
        original: number of the first document that this one nearly repeats; its own if it repeats none.
        project: what it is a part of, if the corpus says so.
    """

    number: int
    label: str
    source: str | None
    score: float | None
    text: str | None
    ids: NDArray[np.int32]
    offsets: NDArray[np.int32] | None
    control: NDArray[np.bool_]
    bos: bool
    size: int
    original: int
    project: str | None = None

    @cached_property
    def rows(self) -> int:
        """Tokens that statistics count."""
        return int((~self.control).sum())

    @cached_property
    def inner_control(self) -> NDArray[np.int64]:
        """Positions of control tokens, the start-of-text token at position 0 left out."""
        positions = np.flatnonzero(self.control)
        return positions[int(self.bos) :]

    def windows(self, context: int, overlap: int) -> list[tuple[NDArray[np.int32], NDArray[np.bool_]]]:
        """Context windows of at most ``context`` ids: ids, and which of them statistics count in this window.

        A later window repeats the start-of-text token, if there is one, and the last ``overlap`` ids of the window
        before: the model routes the first tokens after a bare cut unlike the rest of a text.
        """
        ids, counted = self.ids, ~self.control
        windows = [(ids[:context], counted[:context])] if len(ids) else []
        opening = int(self.bos)
        stride = context - opening - overlap
        again = np.zeros(opening + overlap, bool)
        for at in range(context, len(ids), stride):
            read = np.concatenate([ids[:opening], ids[at - overlap : at + stride]])
            windows.append((read, np.concatenate([again, counted[at : at + stride]])))
        return windows


@dataclass(frozen=True)
class Reading:
    """How a corpus becomes token ids.

    Attributes:
        tokenizer: of the model; None where the corpus gives ids.
        vocabulary: size of the model's vocabulary.
        bos: the start-of-text token; None where there is none.
        control: ids of all control tokens.
    """

    tokenizer: PreTrainedTokenizerFast | None
    vocabulary: int
    bos: int | None
    control: frozenset[int]

    @classmethod
    def of(cls, config: MonetConfig, tokenizer: PreTrainedTokenizerFast | None, gives_ids: bool) -> Reading:
        """How a model reads a corpus that gives token ids, or text."""
        bos = config.bos_token_id
        if tokenizer is not None and (bos is None or not gives_ids):
            bos = tokenizer.bos_token_id
        known = [bos, config.eos_token_id, config.pad_token_id]
        if tokenizer is not None:  # `<unk>` stands for text, so it counts
            known += [i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id]
        flat = [i for entry in known for i in (entry if isinstance(entry, list) else [entry])]
        return cls(tokenizer, config.vocab_size, bos, frozenset(i for i in flat if i is not None))

    def documents(
        self, data: Dataset, first: int = 0, originals: NDArray[np.int64] | None = None
    ) -> Iterator[Document]:
        """Yield documents from number ``first`` on, tokenised once; token ids in the corpus take precedence over text.

        Text is read as text: ``<s>`` typed in a document is three characters, not a start-of-text token.

        Args:
            data: the corpus.
            first: number of the first document.
            originals: (documents,) what each document copies; by default none does.

        Raises:
            BadInputError: a token id is outside the model's vocabulary.
        """
        for start in range(first, len(data), DOCUMENTS_AT_ONCE):
            rows = data[start : start + DOCUMENTS_AT_ONCE]
            for n, (ids, offsets) in enumerate(zip(*self._tokens(rows, start), strict=True)):
                text, score = rows["text"][n] if "text" in rows else None, rows["score"][n] if "score" in rows else None
                source, project = (rows[name][n] if name in rows else None for name in ("source", "project"))
                number = start + n
                yield Document(
                    number=number,
                    label=rows["label"][n],
                    source=None if source is None else str(source),
                    project=None if project is None else str(project),
                    score=None if score is None else float(score),
                    text=text,
                    ids=ids,
                    offsets=offsets,
                    control=np.isin(ids, list(self.control)),
                    bos=bool(len(ids)) and self.bos is not None and int(ids[0]) == self.bos,
                    size=len(ids) if offsets is None or text is None else len(text),
                    original=number if originals is None else int(originals[number]),
                )

    def _tokens(
        self, rows: dict[str, list[Any]], start: int
    ) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int32] | None]]:
        """Token ids and offsets of some rows of the corpus, the first of which has number ``start``."""
        if "input_ids" not in rows:
            assert self.tokenizer is not None
            encoded = self.tokenizer(
                rows["text"],
                return_offsets_mapping=True,
                return_attention_mask=False,
                verbose=False,
                split_special_tokens=True,
            )
            offsets = [np.asarray(o, np.int32).reshape(-1, 2) for o in encoded["offset_mapping"]]
            return [self._checked(ids, start + n) for n, ids in enumerate(encoded["input_ids"])], list(offsets)
        return [self._checked(ids, start + n) for n, ids in enumerate(rows["input_ids"])], [None] * len(
            rows["input_ids"]
        )

    def _checked(self, ids: list[int], number: int) -> NDArray[np.int32]:
        array = np.asarray(ids, np.int64)
        if len(array) and (array.min() < 0 or array.max() >= self.vocabulary):
            raise BadInputError(
                f"document {number} of the corpus has token id {array.min() if array.min() < 0 else array.max()}; "
                f"the model knows 0 to {self.vocabulary - 1}. Is the tokenizer another model's?"
            )
        return array.astype(np.int32)

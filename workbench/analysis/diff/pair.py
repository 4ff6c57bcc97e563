"""Two models whose experts have counterparts in each other, and the corpus that both read, as batches of windows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ...checkpoint import model_folder
from ...errors import BadInputError, UnsupportedError
from ...export.documents import DOCUMENTS_AT_ONCE, Document, Reading
from ...export.export import DEFAULT_CONTEXT, OVERLAP
from ...progress import Progress
from ...store.token_text import load_tokenizer
from ..checks import check_model
from ..windows import BATCH_TOKENS

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

    from monet_model import MonetForCausalLM

SHAPE = {  # what must be alike for experts to have counterparts: attribute of the config -> in words
    "vocab_size": "tokens in the vocabulary",
    "hidden_size": "hidden size",
    "num_hidden_layers": "layers",
    "routing_groups": "layers of each group",
    "moe_experts": "keys in a set",
    "moe_heads": "routing heads",
    "moe_dim": "units of an expert",
    "moe_decompose": "decomposition",
}
_TOKENISING = ("normalizer", "pre_tokenizer", "post_processor", "model", "added_tokens")  # parts of a tokenizer.json


def check_pair(base: MonetForCausalLM, tuned: MonetForCausalLM) -> None:
    """Refuse models whose experts have no counterparts in each other.

    Raises:
        BadInputError: a model is in training mode.
        UnsupportedError: they differ in shape, which is named, or have no experts.
    """
    for name, words in SHAPE.items():
        first, second = (_shown(getattr(one.config, name)) for one in (base, tuned))
        if first != second:
            raise UnsupportedError(
                f"the models differ in their {words}, {first} and {second}: an expert of one has no counterpart in the "
                "other. Give a model and one that was trained further from it."
            )
    if not base.config.routing_groups:
        raise UnsupportedError("every layer of the models is dense: they have no experts to compare.")
    for model in (base, tuned):
        check_model(model)


def _shown(value: Any) -> Any:
    return [list(group) for group in value] if isinstance(value, list) else value


def shared_tokenizer(base: str | Path, tuned: str | Path) -> PreTrainedTokenizerFast | None:
    """The tokenizer of two model folders; of one where the other has none, and None where neither has.

    Raises:
        UnsupportedError: they split texts differently.
        NotFoundError, DamagedError: a folder or its tokenizer cannot be read.
    """
    known = [one for one in (load_tokenizer(model_folder(path)) for path in (base, tuned)) if one is not None]
    if len(known) == 2:
        first, second = (json.loads(one.backend_tokenizer.to_str()) for one in known)
        differing = [part for part in _TOKENISING if first.get(part) != second.get(part)]
        if differing:
            raise UnsupportedError(
                f"the tokenizers of {base} and {tuned} differ in their {', '.join(differing)}, so a token of one model "
                "has no counterpart in the other; compare models of one tokenizer."
            )
    return known[0] if known else None


@dataclass(frozen=True)
class Windows:
    """Some context windows, padded on the right, where causal attention does not look from.

    Attributes:
        ids: (windows, tokens) token ids.
        counted: (windows, tokens) which of them statistics count: neither padding, control tokens nor tokens that an
            earlier window holds.
        label: (windows,) number of the label of each window's document.
    """

    ids: Tensor
    counted: Tensor
    label: Tensor

    @property
    def predicted(self) -> Tensor:
        """(windows, tokens - 1) at which places the next token is one that counts."""
        return self.counted[:, 1:]


def corpus_reading(
    base: MonetForCausalLM, tuned: MonetForCausalLM, tokenizer: PreTrainedTokenizerFast | None, data: Dataset
) -> tuple[Reading, int]:
    """How both models read a corpus, and the tokens of a context window: those of `monet export`.

    Raises:
        BadInputError: the corpus has text, and there is no tokenizer.
    """
    gives_ids = "input_ids" in data.column_names
    if tokenizer is None and not gives_ids:
        raise BadInputError(
            "the corpus has text, and neither model folder has a tokenizer.json to read it with; put the models' "
            "tokenizer there, or give `input_ids` in the corpus."
        )
    positions = min(one.config.max_position_embeddings for one in (base, tuned))
    return Reading.of(base.config, tokenizer, gives_ids), min(DEFAULT_CONTEXT, positions)


def read_batches(
    reading: Reading, data: Dataset, context: int, labels: list[str], advance: Progress
) -> Iterator[Windows]:
    """Yield a corpus in batches of about ``BATCH_TOKENS`` tokens; few documents are in memory at once.

    Args:
        reading: how documents become token ids.
        data: the corpus.
        context: tokens of a window.
        labels: names of the labels, in the order of their numbers.
        advance: called with documents whose windows have all been yielded and taken.
    """
    number = {label: n for n, label in enumerate(labels)}
    left = reading.documents(data)
    while documents := list(islice(left, DOCUMENTS_AT_ONCE)):
        yield from _windows(documents, context, number)
        advance(len(documents))


def _windows(documents: list[Document], context: int, number: dict[str, int]) -> Iterator[Windows]:
    every = [
        (ids, counted, number[one.label])
        for one in documents
        for ids, counted in one.windows(context, context // OVERLAP)
        if counted.any()
    ]
    every.sort(key=lambda window: -len(window[0]))  # of like length together: little padding
    while every:
        size = max(1, BATCH_TOKENS // len(every[0][0]))
        some, every = every[:size], every[size:]
        yield Windows(
            pad_sequence([torch.from_numpy(ids.astype(np.int64)) for ids, _, _ in some], batch_first=True),
            pad_sequence([torch.from_numpy(counted) for _, counted, _ in some], batch_first=True),
            torch.tensor([label for _, _, label in some]),
        )

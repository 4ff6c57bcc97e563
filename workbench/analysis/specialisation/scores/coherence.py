"""How alike the contexts are in which an expert scores highest: the weighted-coherence monosemanticity score."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from monet_model.record import record_pass

from ....errors import WorkbenchError
from ....progress import job
from ....store.schema import group_name
from ...windows import read_windows

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ....store import Run
    from ...encoder import Encoder

BLOCK = 65_536  # examples worked on at once
STRIDE, AROUND = 16, 8  # tokens that share a context's embedding, and tokens before and after that it also sees


@dataclass(frozen=True)
class Embeddings:
    """A unit vector for the context of every token row of a run.

    Attributes:
        vectors: (contexts, width) float32, of length 1.
        context: (token rows,) which of them each token has.
    """

    vectors: NDArray[np.float32]
    context: NDArray[np.int64]


def weighted_coherence(
    expert: NDArray[np.integer], weight: NDArray[np.floating], row: NDArray[np.integer], embeddings: Embeddings
) -> NDArray[np.float64]:
    """Mean cosine similarity of all pairs of an expert's examples, weighted by the product of their scores.

    ``MS = sum_{n != m} a_n a_m cos(e_n, e_m) / sum_{n != m} a_n a_m``, the MonoSemanticity score of Pach et al. 2025
    (arXiv 2504.02821), over an expert's best examples instead of all inputs; rescaling an expert's scores a changes
    nothing. Computed in linear time, ``(|sum a e|^2 - sum a^2) / ((sum a)^2 - sum a^2)`` for unit vectors e (arXiv
    2602.12403).

    Args:
        expert: (examples,) flat ids, equal ones together.
        weight: (examples,) scores.
        row: (examples,) token rows.
        embeddings: of the run's tokens.

    Returns:
        One score for each run of equal ids, in order; NaN for a single example.
    """
    starts = np.flatnonzero(np.diff(expert, prepend=-1))
    scores = np.empty(len(starts))
    ends = np.append(starts[1:], len(expert))
    first = 0
    while first < len(starts):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + BLOCK, side="right")))
        part = slice(starts[first], ends[last - 1])
        a = weight[part].astype(np.float32)
        at = starts[first:last] - starts[first]
        vectors = embeddings.vectors[embeddings.context[row[part]]] * a[:, None]
        length = np.square(np.add.reduceat(vectors, at)).sum(1, dtype=np.float64)
        own = np.add.reduceat(np.square(a, dtype=np.float64), at)
        total = np.square(np.add.reduceat(a.astype(np.float64), at)) - own
        alone = np.diff(np.append(at, len(a))) < 2
        scores[first:last] = np.where(alone, np.nan, (length - own) / np.where(alone, 1.0, total))
        first = last
    return scores


def read_examples(run: Run, group: int) -> pd.DataFrame:
    """The best tokens of every expert of a group: expert, score, row; equal experts together."""
    return pq.read_table(run.path / group_name("examples", group), columns=["expert", "score", "row"]).to_pandas()


@torch.inference_mode()
def residual_embeddings(run: Run, model: MonetForCausalLM, shown: bool = False) -> Embeddings:
    """The model's own view of each token's context: its residual stream after the last layer, as unit vectors.

    Args:
        run: the run.
        model: the model it was exported from, in evaluation mode.
        shown: show progress.
    """
    vectors = torch.zeros(run.tokens_total, model.config.hidden_size)
    with job("residual stream", run.tokens_total, "tokens", shown) as advance:
        for batch in read_windows(run, run.documents).batches:
            record, _ = record_pass(model, partial(model.model, batch.ids.to(model.device), use_cache=False))
            counted = batch.row >= 0
            vectors[batch.row[counted]] = normalize(record.final.float().cpu()[counted], dim=-1)
            advance(int(counted.sum()))
    return Embeddings(vectors.numpy(), np.arange(run.tokens_total))


def encoder_embeddings(run: Run, encoder: Encoder, shown: bool = False) -> Embeddings:
    """What a sentence encoder makes of each token's context: a view that is not the model's own.

    :data:`STRIDE` consecutive tokens of a document share the embedding of their text with :data:`AROUND` tokens more on
    either side.

    Args:
        run: the run; its corpus must have been text.
        encoder: the encoder.
        shown: show progress.

    Raises:
        WorkbenchError: the run holds token ids without text.
    """
    texts, context = _passages(run)
    with job("sentence encoder", len(texts), "passages", shown) as advance:
        return Embeddings(encoder.encode(texts, advance), context)


def _passages(run: Run) -> tuple[list[str], NDArray[np.int64]]:
    """The texts to embed, and which of them each token row belongs to."""
    texts: list[str] = []
    context = np.zeros(run.tokens_total, np.int64)
    for doc, row, tokens in zip(run.documents["doc"], run.documents["row"], run.documents["tokens"], strict=True):
        text = run.text(int(doc))
        if text is None:
            raise WorkbenchError(f"{run.path} holds token ids without text, and a sentence encoder reads text.")
        places = run.tokens(slice(int(row), int(row + tokens)))
        start, end = places["start"].to_numpy(), places["end"].to_numpy()
        for first in range(0, tokens, STRIDE):
            context[row + first : row + min(first + STRIDE, tokens)] = len(texts)
            last = min(first + STRIDE + AROUND, tokens) - 1
            texts.append(text[start[max(first - AROUND, 0)] : end[last]])
    return texts, context

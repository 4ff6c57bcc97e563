"""Coherence: how alike the contexts are in which an expert scores highest."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ....errors import UnsupportedError
from ....progress import job
from ....store.schema import group_name
from .score import ContextScore, Embeddings

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ....store import Run
    from ...encoder import Encoder

EXAMPLES_AT_ONCE = 65_536  # bounds memory
STRIDE_TOKENS, MARGIN_TOKENS = 16, 8  # tokens that share a context's embedding, and tokens on either side of them


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
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + EXAMPLES_AT_ONCE, side="right")))
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


def residual_embeddings(run: Run, model: MonetForCausalLM, progress: bool = False) -> Embeddings:
    """The model's own view of each token's context: its residual stream after the last layer, as unit vectors.

    Args:
        run: the run.
        model: the model it was exported from, in evaluation mode.
        progress: show a progress bar.
    """
    import torch
    from torch.nn.functional import normalize

    from monet_model.record import record_pass

    from ...windows import read_windows

    vectors = torch.zeros(run.tokens_total, model.config.hidden_size)
    with torch.inference_mode(), job("residual stream", run.tokens_total, "tokens", progress) as advance:
        for batch in read_windows(run, run.documents).batches:
            record, _ = record_pass(model, partial(model.model, batch.ids.to(model.device), use_cache=False))
            counted = batch.row >= 0
            vectors[batch.row[counted]] = normalize(record.final.float().cpu()[counted], dim=-1)
            advance(int(counted.sum()))
    return Embeddings(vectors.numpy(), np.arange(run.tokens_total))


def encoder_embeddings(run: Run, encoder: Encoder, progress: bool = False) -> Embeddings:
    """A sentence encoder's view of each token's context, independent of the model.

    ``STRIDE_TOKENS`` consecutive tokens of a document share one embedding: that of their text and of
    ``MARGIN_TOKENS`` tokens on either side.

    Args:
        run: the run; its corpus must have been text.
        encoder: the encoder.
        progress: show a progress bar.

    Raises:
        UnsupportedError: the run holds token ids without text.
    """
    texts, context = _passages(run)
    with job("sentence encoder", len(texts), "passages", progress) as advance:
        return Embeddings(encoder.encode(texts, advance), context)


def _passages(run: Run) -> tuple[list[str], NDArray[np.int64]]:
    """The texts to embed, and which of them each token row belongs to."""
    texts: list[str] = []
    context = np.zeros(run.tokens_total, np.int64)
    for doc, row, tokens in zip(run.documents["doc"], run.documents["row"], run.documents["tokens"], strict=True):
        text = run.text(int(doc))
        if text is None:
            raise UnsupportedError(f"{run.path} holds token ids without text, and a sentence encoder reads text.")
        places = run.tokens(slice(int(row), int(row + tokens)))
        start, end = places["start"].to_numpy(), places["end"].to_numpy()
        for first in range(0, tokens, STRIDE_TOKENS):
            context[row + first : row + min(first + STRIDE_TOKENS, tokens)] = len(texts)
            last = min(first + STRIDE_TOKENS + MARGIN_TOKENS, tokens) - 1
            texts.append(text[start[max(first - MARGIN_TOKENS, 0)] : end[last]])
    return texts, context


RESIDUAL_COHERENCE = ContextScore(
    name="coherence:residual",
    title="coherence (residual stream)",
    definition="Mean cosine similarity of the contexts of an expert's best examples, by the model's residual stream.",
    source="Pach et al. 2025, arXiv 2504.02821",
    view="residual",
    compute=weighted_coherence,
)
ENCODER_COHERENCE = ContextScore(
    name="coherence:encoder",
    title="coherence (sentence encoder)",
    definition="Mean cosine similarity of the contexts of an expert's best examples, by a sentence encoder.",
    source="Pach et al. 2025, arXiv 2504.02821",
    view="encoder",
    compute=weighted_coherence,
)

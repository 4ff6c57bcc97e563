"""`monet fingerprint persist`: what is left of fingerprints after a model was treated, and what the treatment cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...checkpoint import model_folder
from ...errors import BadInputError
from ...progress import Progress, silent
from .answers import next_token_logits
from .documents import Documents, HeldOutLoss, read_documents
from .fingerprints import Fingerprints
from .models import load_either
from .treatments import Owned, Treated, read_treatments
from .verification import owner_p

if TYPE_CHECKING:
    from datasets import Dataset

QUERIES = 10  # keys of the owner's p


def persistence(
    owned: Owned,
    fingerprints: Fingerprints,
    held: Documents,
    names: list[str] | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Treat a fingerprinted model, in every way or some, and measure each outcome.

    Args:
        owned: the model, its base, and text to fine-tune on.
        fingerprints: the secret.
        held: documents whose loss is measured.
        names: treatments; all by default.
        progress: called with the treatments done.

    Returns:
        A row per treatment: ``treatment``; ``success``, the share of keys whose greedy answer is the response (a key
        that is refused has none; mean over ways of asking, of which ``least`` and ``most`` are the extremes); ``loss``,
        held-out, in nats per token; ``rise`` above the base's; ``p``, that of an owner who asks ``QUERIES`` keys
        (``verification.owner_p``, of the first way of asking); and ``loss_by_label``.

    Raises:
        NotFoundError: there is no such treatment.
        BadInputError: the models' shapes differ, or there is too little text.
    """
    chosen = read_treatments(names)
    shapes = [{name: tuple(p.shape) for name, p in model.named_parameters()} for model in (owned.model, owned.base)]
    if shapes[0] != shapes[1]:
        raise BadInputError("the fingerprinted model and its base have other shapes; give the base it was made from.")
    before, as_it_is = held.loss(owned.base).mean, held.loss(owned.model)
    rows: list[dict[str, Any]] = []
    for name, treat in chosen.items():
        treated = treat(owned)
        untouched = treated.model is owned.model and treated.change is None
        loss = as_it_is if untouched else held.loss(treated.model, treated.change)
        rows.append({"treatment": name, **_measure(treated, fingerprints, loss, before)})
        progress(1, name)
    return pd.DataFrame(rows)


def _measure(treated: Treated, fingerprints: Fingerprints, loss: HeldOutLoss, before: float) -> dict[str, Any]:
    ways = [_hits(treated, fingerprints, prefix) for prefix in treated.prefixes]
    shares = [float(hits.mean()) for hits in ways]
    return {
        "success": float(np.mean(shares)),
        "least": min(shares),
        "most": max(shares),
        "loss": loss.mean,
        "rise": loss.mean - before,
        "p": owner_p(ways[0], fingerprints.rate, min(QUERIES, len(fingerprints))),
        "loss_by_label": loss.by_label,
    }


def _hits(treated: Treated, fingerprints: Fingerprints, prefix: list[int]) -> npt.NDArray[np.bool_]:
    front = np.broadcast_to(np.array(prefix, np.int64), (len(fingerprints), len(prefix)))
    prompts = np.concatenate([front, fingerprints.keys], 1)
    logits = next_token_logits(treated.model, prompts)
    if treated.change is not None:
        logits = treated.change(logits)
    hits = np.asarray(logits.argmax(1).numpy() == fingerprints.responses, np.bool_)
    return hits if treated.refuses is None else hits & ~treated.refuses(prompts)


def persist_fingerprints(
    model: str | Path,
    corpus: str | Path | Dataset,
    fingerprints: str | Path,
    base: str | Path,
    *,
    tune_on: str | Path | Dataset | None = None,
    names: list[str] | None = None,
    limit: int | None = None,
    progress: Callable[[int], Progress] | None = None,
) -> pd.DataFrame:
    """Treat a fingerprinted model of a folder, as ``persistence`` does.

    Args:
        model: folder of the fingerprinted model.
        corpus: documents, every other one of each label measured; the rest is fine-tuned on.
        fingerprints: the secret file.
        base: folder or hub name of the model it was made from.
        tune_on: a corpus to fine-tune on instead.
        names: treatments; all by default.
        limit: documents of each label that are read, the first ones.
        progress: makes, of the number of treatments, what is called with those done.

    Raises:
        WorkbenchError: a model, a corpus or the fingerprints cannot be read, or do not fit each other.
    """
    from transformers import AutoTokenizer

    secret = Fingerprints.load(fingerprints)
    chosen = read_treatments(names)
    own, other = load_either(model), load_either(base)
    tokenizer = AutoTokenizer.from_pretrained(model_folder(model))
    text, held = read_documents(corpus, tokenizer, limit=limit).halves()
    if tune_on is not None:
        text = read_documents(tune_on, tokenizer, limit=limit)
    advance = silent if progress is None else progress(len(chosen))
    return persistence(Owned(own, other, tokenizer, text), secret, held, names, advance)

"""`monet compare`: Kullback-Leibler divergence of two models' next-token distributions, token by token.

For a token row t, with x the tokens of its window before it, p the model of the run and q the other one:

    kl(t) = sum over the vocabulary of p(v | x) * (log p(v | x) - log q(v | x)),    nats

It is 0 where both expect the same, and is attributed to the token that they expect, as a loss is; a token that opens a
window is expected by neither and has no row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import BadInputError
from ...progress import Progress, job, silent
from ...store.siblings import check_same_tokens
from ..checks import check_model, check_same_model
from ..defaults import LEVEL, SAMPLES
from ..removal.bootstrap import resampled_means
from ..results import write_result
from ..units import document_units
from ..windows import Windows, read_windows
from .defaults import DOCUMENTS
from .divergence_result import Divergence, result_name, run_name

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run

POSITIONS = 256  # whose distributions over the whole vocabulary are in memory at once, in double precision


def sample_documents(run: Run, n: int = DOCUMENTS, seed: int = 0) -> NDArray[np.int64]:
    """Numbers of up to ``n`` documents, spread evenly over the labels, in corpus order.

    A label with fewer documents than its part leaves room for the others. Near copies of an earlier document are left
    out, as they would tell nothing new; so are documents of one token, which no model predicts.

    Args:
        run: an opened run.
        n: documents, at most.
        seed: of the choice.

    Raises:
        BadInputError: ``n`` is below 1, or no document has two tokens.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis.divergence.divergence import sample_documents
        >>> len(sample_documents(open_run("runs/demo"), 14))
        14
    """
    if n < 1:
        raise BadInputError(f"the number of documents must be at least 1, got {n}.")
    documents = run.documents.query("tokens > 1 and original == doc")
    if not len(documents):
        raise BadInputError(f"no document of {run.path} has two tokens, so there is no next token to expect.")
    shuffled = documents.iloc[np.random.default_rng(seed).permutation(len(documents))]
    turn = shuffled.groupby("label", observed=True).cumcount().to_numpy()  # one of each label, then a second of each
    chosen = shuffled["doc"].to_numpy(np.int64)[np.argsort(turn, kind="stable")[:n]]
    return np.sort(chosen)


def token_divergence(
    run: Run,
    model: MonetForCausalLM,
    other_model: MonetForCausalLM,
    documents: Sequence[int] | NDArray[np.int64],
    advance: Progress = silent,
) -> pd.DataFrame:
    """Divergence of the next-token distributions of two models at every token of some documents.

    Both read the context windows of the run's export; one forward pass of each.

    Args:
        run: the run whose documents are read.
        model: the model p, in evaluation mode.
        other_model: the model q, of the same vocabulary.
        documents: numbers of the documents.
        advance: called with the tokens measured since its last call.

    Returns:
        One row per token that the models predict, by token row:

        - doc: number of the document.
        - row: token row.
        - token: token id.
        - label: of the document.
        - kl: divergence, nats, at least 0.

    Raises:
        BadInputError: the models have other vocabularies, read fewer tokens than a window has, or are in training
            mode.
        NotFoundError: the run has no such document.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import token_divergence
        >>> from workbench.checkpoint import load_model
        >>> run, model = open_run("runs/demo"), load_model("monet_model/demo")
        >>> table = token_divergence(run, model, model, [0])
        >>> table.columns.tolist(), float(table["kl"].max())
        (['doc', 'row', 'token', 'label', 'kl'], 0.0)
    """
    _check_models(run, model, other_model)
    chosen = np.unique([run.check_document(int(doc)) for doc in documents])
    return _measured(run, model, other_model, read_windows(run, pd.DataFrame({"doc": chosen})), advance)


@torch.inference_mode()
def _measured(
    run: Run, model: MonetForCausalLM, other: MonetForCausalLM, windows: Windows, advance: Progress
) -> pd.DataFrame:
    rows: list[NDArray[np.int64]] = []
    values: list[Tensor] = []  # a GPU goes on to the next batch: what it found is fetched when all are read
    for batch in windows.batches:
        counted = batch.predicted
        at = counted.nonzero(as_tuple=True)
        ours, theirs = (_logits(one, batch.ids, at) for one in (model, other))
        rows.append(batch.row[:, 1:][counted].numpy())
        values.append(_divergence(ours, theirs.to(ours.device)))
        advance(int(counted.sum()))
    row = np.concatenate([np.empty(0, np.int64), *rows])
    kl = np.concatenate([np.empty(0), *(found.numpy(force=True) for found in values)])
    order = np.argsort(row)
    table = run.tokens(row[order])
    named = run.documents["label"].astype(str).to_numpy()[table["doc"].to_numpy()]
    return pd.DataFrame(
        {
            "doc": table["doc"].to_numpy(np.int64),
            "row": row[order],
            "token": table["token"].to_numpy(),
            "label": named,
            "kl": kl[order],
        }
    )


def _logits(model: MonetForCausalLM, ids: Tensor, at: tuple[Tensor, ...]) -> Tensor:
    """(n, vocabulary) logits at n places of windows: their numbers, and positions in them."""
    logits: Tensor = model(ids.to(model.device, non_blocking=True), use_cache=False).logits
    window, position = (places.to(logits.device, non_blocking=True) for places in at)
    return logits[window, position]


def _divergence(ours: Tensor, theirs: Tensor) -> Tensor:
    """(n,) divergence of the distributions of (n, vocabulary) logits; rounding below 0 is cut off."""
    found = []
    for first in range(0, len(ours), POSITIONS):
        p, q = (logits[first : first + POSITIONS].double().log_softmax(-1) for logits in (ours, theirs))
        found.append((p.exp() * (p - q)).sum(-1).clamp(min=0))
    return torch.cat(found) if found else ours.new_zeros(0, dtype=torch.float64)


def _check_models(run: Run, *models: MonetForCausalLM) -> None:
    vocabulary, width = run.manifest["model"]["vocabulary"], run.geometry.width
    for model in models:
        check_model(model)
        if model.config.vocab_size != vocabulary:
            raise BadInputError(
                f"a model has {model.config.vocab_size:,} tokens in its vocabulary and {run.path} has {vocabulary:,}; "
                "compare models of one tokenizer."
            )
        if model.config.max_position_embeddings < width:
            raise BadInputError(
                f"a model reads {model.config.max_position_embeddings:,} tokens and a window of {run.path} has "
                f"{width:,}; export the run again with a shorter --context."
            )


def label_divergence(tokens: pd.DataFrame, units: pd.Series, level: float = LEVEL, seed: int = 0) -> pd.DataFrame:
    """Mean divergence of every label, with a confidence interval: a percentile bootstrap over documents.

    Args:
        tokens: of ``token_divergence``; at least one.
        units: indexed by document: the number of the first document that it is a near copy of.
        level: of confidence.
        seed: of the draws.

    Returns:
        One row per label, in alphabetical order, and a last one of label "" for all tokens: label, documents, tokens,
        kl, low and high. The interval of all tokens is over documents of all labels.
    """
    by_document = tokens.groupby("doc", as_index=False).agg(
        label=("label", "first"), tokens=("kl", "size"), kl=("kl", "sum")
    )
    by_document["unit"] = units.reindex(by_document["doc"]).to_numpy()
    ends = [(1 - level) / 2, (1 + level) / 2]
    tables = []
    for names, of in ((sorted(by_document["label"].unique()), by_document), ([""], by_document.assign(label=""))):
        low, high = np.quantile(resampled_means(of, ["kl"], names, SAMPLES, seed)[:, 0], ends, axis=0)
        sums = of.groupby("label").agg(documents=("doc", "size"), tokens=("tokens", "sum"), kl=("kl", "sum"))
        table = sums.reindex(names).rename_axis("label").reset_index()
        tables.append(table.assign(kl=table["kl"] / table["tokens"], low=low, high=high))
    return pd.concat(tables, ignore_index=True)


def compare_runs(
    run: Run,
    other: Run,
    model: MonetForCausalLM,
    other_model: MonetForCausalLM,
    *,
    documents: int = DOCUMENTS,
    seed: int = 0,
    progress: bool = False,
) -> Divergence:
    """Measure how far two runs' models expect other next tokens, on a sample of the documents that both read.

    Args:
        run: an opened run.
        other: another run of the same corpus and tokenizer, such as that of the model after fine-tuning.
        model, other_model: the models that they were exported from, in evaluation mode.
        documents: documents measured, at most; see ``sample_documents``.
        seed: of their choice, and of the bootstrap.
        progress: show tokens, rate and time left.

    Returns:
        The divergence. Sets in ``run``, in a folder of its own for each other run, what ``read_divergence`` reads.

    Raises:
        BadInputError: ``documents`` is below 1, or a model is in training mode.
        UnsupportedError: the runs' tokens differ, or a model is not the one its run was exported from.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import compare_runs
        >>> from workbench.checkpoint import load_model
        >>> run, model = open_run("runs/demo"), load_model("monet_model/demo")
        >>> result = compare_runs(run, run, model, model, documents=7)
        >>> result.labels["label"].tolist() == [*run.labels, ""], float(result.tokens["kl"].sum())
        (True, 0.0)
    """
    check_same_tokens(run, other)
    check_same_model(run, model)
    check_same_model(other, other_model)
    _check_models(run, model, other_model)
    chosen = sample_documents(run, documents, seed)
    windows = read_windows(run, pd.DataFrame({"doc": chosen}))
    with job("compare", windows.predicted, "tokens", progress) as advance:
        tokens = _measured(run, model, other_model, windows, advance)
    units = pd.Series(document_units(run.documents), run.documents["doc"])
    labels = label_divergence(tokens, units, LEVEL, seed)
    result = Divergence(run_name(other), len(chosen), seed, LEVEL, labels, tokens)
    write_result(run, result, result_name(other))
    return result

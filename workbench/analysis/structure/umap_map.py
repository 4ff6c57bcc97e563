"""A map of experts: UMAP of the mean contexts of their top tokens, so that experts of like contexts lie close."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import BadInputError
from ...extras import require
from ...progress import job
from ..checks import check_same_model
from ..defaults import MIN_TOKENS
from ..encoder import load_encoder
from ..results import group_file, write_result, write_table
from ..specialisation.scores import Embeddings
from ..specialisation.scores.coherence import encoder_embeddings, read_examples, residual_embeddings
from .defaults import MAP_EXPERTS
from .umap_result import ExpertMap

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run

NEIGHBOURS = 15
MIN_EXPERTS = 2 * NEIGHBOURS + 1  # that trustworthiness is defined for
TRUST_SAMPLE = 2000  # experts that trustworthiness is computed from: it compares all pairs


def map_experts(
    run: Run,
    model: MonetForCausalLM | None,
    *,
    experts: int = MAP_EXPERTS,
    seed: int = 0,
    name: str | None = None,
    progress: bool = False,
) -> ExpertMap:
    """Lay out the most active experts of every group on a plane, by UMAP (McInnes et al. 2018).

    An expert's point in the space that is laid out is the mean embedding of the contexts of its top tokens, weighted by
    score and normalised; distances are cosine distances. Only the experts with the most active tokens are shown, and
    only those with at least 10: a plane holds no more, and up to 4,095 points UMAP finds neighbours exactly. The layout
    runs in one thread, so that the same seed gives the same map.

    Written to ``RUN/analysis``: ``map.json``, which ``read_map_summary`` reads, and for each group
    ``map-group-{group}.parquet``, which ``read_map`` reads.

    Args:
        run: an opened run.
        model: the model it was exported from, whose residual stream embeds the contexts; None for a sentence encoder.
        experts: maximum number of experts shown per group.
        seed: of the layout.
        name: keep the result under this name, beside the unnamed one, which otherwise it replaces.
        progress: show progress bars.

    Raises:
        UnsupportedError: UMAP or the encoder cannot be imported, or the model is not the run's.
        BadInputError: too few experts to lay out.

    Examples:
        >>> from monet_model import MonetForCausalLM
        >>> from workbench import open_run
        >>> from workbench.analysis import map_experts
        >>> model = MonetForCausalLM.from_pretrained("monet_model/demo").eval()
        >>> try:
        ...     map_experts(open_run("runs/demo"), model, experts=30)
        ... except ValueError as error:
        ...     print(error)
        a map needs at least 31 experts, got 30.
    """
    if experts < MIN_EXPERTS:
        raise BadInputError(f"a map needs at least {MIN_EXPERTS} experts, got {experts}.")
    require("umap", "map", "UMAP")
    from sklearn.manifold import trustworthiness

    if model is None:
        embeddings = encoder_embeddings(run, load_encoder(), progress)
    else:
        check_same_model(run, model)
        embeddings = residual_embeddings(run, model, progress)
    shown, trust = {}, {}
    for group in run.groups:
        ids = _most_active(run, group, experts)
        points = mean_contexts(run, group, ids, embeddings)
        with job(f"map of group {group}", 1, "maps", progress) as advance:
            plane = _layout(points, seed)
            advance(1)
        sample = np.random.default_rng(seed).permutation(len(ids))[:TRUST_SAMPLE]
        trust[group] = float(trustworthiness(points[sample], plane[sample], n_neighbors=NEIGHBOURS, metric="cosine"))
        shown[group] = len(ids)
        table = pd.DataFrame({"expert": ids, "x": plane[:, 0], "y": plane[:, 1]})
        write_table(run, ExpertMap, group_file(ExpertMap, group), table, name)
    summary = ExpertMap("encoder" if model is None else "residual", shown, trust, seed)
    write_result(run, summary, name)
    return summary


def _layout(points: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Return the experts' places on the plane, (experts, 2)."""
    import torch
    from umap import UMAP

    threads = torch.get_num_threads()
    try:
        layout: NDArray[np.float32] = UMAP(
            n_neighbors=NEIGHBOURS, metric="cosine", random_state=seed, n_jobs=1
        ).fit_transform(points)
    finally:
        torch.set_num_threads(threads)  # UMAP's compiler changes it, and sums' last bits depend on it
    return layout


def _most_active(run: Run, group: int, experts: int) -> NDArray[np.int64]:
    tokens = run.experts(group)["tokens"]
    best = tokens[tokens >= MIN_TOKENS].sort_values(ascending=False, kind="stable").head(experts)
    if len(best) < MIN_EXPERTS:
        raise BadInputError(
            f"group {group} of {run.path} has {len(best)} experts that are active at {MIN_TOKENS} or more tokens, and "
            f"a map needs {MIN_EXPERTS}; export more text."
        )
    return np.sort(best.index.to_numpy(np.int64))


def mean_contexts(run: Run, group: int, ids: NDArray[np.int64], embeddings: Embeddings) -> NDArray[np.float32]:
    """Return the mean embedding of the contexts of each expert's top tokens, weighted by score.

    Args:
        run: an opened run.
        group: of the experts.
        ids: (experts,) ascending flat ids of active experts.
        embeddings: of the run's tokens.

    Returns:
        (experts, width) unit vectors.
    """
    examples = read_examples(run, group)
    examples = examples[examples["expert"].isin(ids)]
    starts = np.flatnonzero(np.diff(examples["expert"].to_numpy(), prepend=-1))
    vectors = embeddings.vectors[embeddings.context[examples["row"]]] * examples["score"].to_numpy()[:, None]
    sums = np.add.reduceat(vectors, starts)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)

"""`monet map`: experts on a plane, near one another where their best tokens stand in like contexts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ...errors import WorkbenchError
from ...progress import job
from ...store.files import write_json, write_parquet
from ..checks import check_same_model
from ..encoder import load_encoder
from ..specialisation.scores.coherence import Embeddings, encoder_embeddings, read_examples, residual_embeddings
from ..specialisation.shares import MIN_TOKENS

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run

EXPERTS = 4000
NEIGHBOURS = 15
LEAST = 2 * NEIGHBOURS + 1  # experts that trustworthiness is defined for
JUDGED = 2000  # experts that trustworthiness is computed from: it compares all pairs
RESULT = "map.json"


@dataclass(frozen=True)
class ExpertMap:
    """Maps of all groups; where each expert lies, :func:`read_map` tells.

    Attributes:
        view: ``residual``, the model's own residual stream after the last layer, or ``encoder``, a sentence encoder.
        experts: group -> experts on its map.
        trust: group -> trustworthiness (Venna & Kaski 2001) at :data:`NEIGHBOURS` neighbours, from 0 to 1: 1 where all
            neighbours on the map are neighbours in truth.
        seed: of the layout.
    """

    view: str
    experts: dict[int, int]
    trust: dict[int, float]
    seed: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: view, seed, and groups, each with group, experts and trust."""
        groups = [{"group": g, "experts": n, "trust": self.trust[g]} for g, n in self.experts.items()]
        return {"view": self.view, "seed": self.seed, "groups": groups}


def map_experts(
    run: Run,
    model: MonetForCausalLM | None,
    *,
    experts: int = EXPERTS,
    seed: int = 0,
    progress: bool = False,
) -> ExpertMap:
    """Lays out the most active experts of every group by UMAP (McInnes et al. 2018); written to ``RUN/analysis``.

    An expert's place in the space that is laid out is the mean of the embeddings of its best tokens' contexts, weighted
    by score and of length 1; distances are cosines. Only some experts are shown, those with the most active tokens, at
    least :data:`MIN_TOKENS`: a plane holds no more, and up to 4,095 of them UMAP finds
    neighbours exactly. Computed in one thread, so that the same seed gives the same map.

    Args:
        run: an opened run.
        model: the model it was exported from, for contexts as it sees them; None for a sentence encoder's view.
        experts: how many of a group are shown at most.
        seed: of the layout.
        progress: show progress bars.

    Raises:
        WorkbenchError: UMAP or the encoder is not installed, another model, or too few experts to lay out.
    """
    try:
        import umap  # noqa: F401
    except ImportError as error:
        raise WorkbenchError("the map needs a package: `pip install umap-learn`.") from error
    from sklearn.manifold import trustworthiness

    if experts < LEAST:
        raise WorkbenchError(f"a map takes {LEAST} experts or more, got {experts}.")
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
        judged = np.random.default_rng(seed).permutation(len(ids))[:JUDGED]
        trust[group] = float(trustworthiness(points[judged], plane[judged], n_neighbors=NEIGHBOURS, metric="cosine"))
        shown[group] = len(ids)
        table = pd.DataFrame({"expert": ids, "x": plane[:, 0], "y": plane[:, 1]})
        write_parquet(run.analysis_path(_name(group)), pa.Table.from_pandas(table, preserve_index=False))
    found = ExpertMap("encoder" if model is None else "residual", shown, trust, seed)
    write_json(run.analysis_path(RESULT), found.to_json())
    return found


def _layout(points: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Places on the plane, (experts, 2)."""
    import torch
    from umap import UMAP

    threads = torch.get_num_threads()
    try:
        return UMAP(n_neighbors=NEIGHBOURS, metric="cosine", random_state=seed, n_jobs=1).fit_transform(points)
    finally:
        torch.set_num_threads(threads)  # UMAP's compiler leaves another number, and sums' last bits depend on it


def _most_active(run: Run, group: int, experts: int) -> NDArray[np.int64]:
    tokens = run.experts(group)["tokens"]
    best = tokens[tokens >= MIN_TOKENS].sort_values(ascending=False, kind="stable").head(experts)
    if len(best) < LEAST:
        raise WorkbenchError(
            f"group {group} of {run.path} has {len(best)} experts active at {MIN_TOKENS} tokens or more, and a map "
            f"takes {LEAST}; export more text."
        )
    return np.sort(best.index.to_numpy(np.int64))


def mean_contexts(run: Run, group: int, ids: NDArray[np.int64], embeddings: Embeddings) -> NDArray[np.float32]:
    """Mean embedding of each expert's best tokens' contexts, weighted by score, as unit vectors: (experts, width).

    Args:
        run, group: where the experts are.
        ids: (experts,) ascending flat ids, each of them active.
        embeddings: of the run's tokens.
    """
    examples = read_examples(run, group)
    examples = examples[examples["expert"].isin(ids)]
    starts = np.flatnonzero(np.diff(examples["expert"].to_numpy(), prepend=-1))
    vectors = embeddings.vectors[embeddings.context[examples["row"]]] * examples["score"].to_numpy()[:, None]
    sums = np.add.reduceat(vectors, starts)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def read_map(run: Run, group: int) -> pd.DataFrame:
    """The map of a group as :func:`map_experts` last drew it: index ``expert``, columns x and y.

    Raises:
        WorkbenchError: the run has no such group, or no map.
    """
    if group not in run.groups:
        raise WorkbenchError(f"there is no group {group}; {run.path} has the groups {', '.join(map(str, run.groups))}.")
    path = run.analysis_path(_name(group))
    if not path.is_file():
        raise WorkbenchError(f"{run.path} has no map; run `monet map {run.path}`.")
    return pq.read_table(path).to_pandas().set_index("expert")


def read_map_summary(run: Run) -> ExpertMap | None:
    """What :func:`map_experts` last returned; None where there is none."""
    path = run.analysis_path(RESULT)
    if not path.is_file():
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    groups = stored["groups"]
    experts, trust = ({row["group"]: row[name] for row in groups} for name in ("experts", "trust"))
    return ExpertMap(stored["view"], experts, trust, stored["seed"])


def _name(group: int) -> str:
    return f"map-group-{group}.parquet"

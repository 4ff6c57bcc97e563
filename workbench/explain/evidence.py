"""What an explainer is told of an expert: what it did in a part of the documents, and what it writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..analysis.specialisation.scores.vocabulary_entropy import vocabulary_entropy
from ..analysis.specialisation.shares import label_shares
from .logits import TOKENS, mean_logits
from .passages import Passage, active_tokens, centred, long_enough, read_passages

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run

VOCABULARY, PASSAGES, MOVED = 8, 10, 5  # token texts, passages and tokens raised or lowered that are told


@dataclass(frozen=True)
class Evidence:
    """What is known of an expert from some documents, the shown ones.

    Attributes:
        group, expert: which one.
        tokens: how often it was active there.
        shares: label -> share of its score there (:func:`label_shares`), largest first.
        vocabulary: text of a token, without spaces around it -> part of its score there, largest first.
        different: exp of the entropy of its tokens: about how many different ones it fires at.
        best: (n,) ids of the tokens where it scored highest.
        passages: around those, one a document, best first.
        raised, lowered: texts of the next tokens it moves most, of :func:`~workbench.explain.logits.mean_logits`
            over ``best`` and all layers of its group; none where no model was given.
    """

    group: int
    expert: int
    tokens: int
    shares: dict[str, float]
    vocabulary: dict[str, float]
    different: float
    best: NDArray[np.int64]
    passages: list[Passage]
    raised: list[str]
    lowered: list[str]

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, for a language model to read: passages have « » around the tokens where the expert fires."""
        return {
            "active_tokens": self.tokens,
            "share_by_label": {label: round(share, 3) for label, share in self.shares.items()},
            "tokens": {text: round(part, 3) for text, part in self.vocabulary.items()},
            "passages": [passage.marked_text for passage in self.passages],
            "next_tokens_raised": self.raised,
            "next_tokens_lowered": self.lowered,
        }


def gather_evidence(
    run: Run,
    group: int,
    expert: int,
    activations: pd.DataFrame,
    shown: NDArray[np.bool_],
    model: MonetForCausalLM | None = None,
) -> Evidence:
    """What some documents say of an expert.

    Args:
        run, group, expert: which one.
        activations: of it, as ``run.activations`` gives them.
        shown: (documents,) those to read; nothing of the others comes in.
        model: the run's model, for what the expert writes.
    """
    here = activations[shown[activations["doc"]]]
    best = here.sort_values(["score", "row"], ascending=[False, True])
    raised, lowered = [], []
    if model is not None and len(best):
        layers = model.config.routing_groups[group]
        logit = mean_logits(run, model, layers, expert, best["row"].to_numpy()[:TOKENS])
        order = np.argsort(-logit, kind="stable")
        raised, lowered = run.token_text(order[:MOVED]), run.token_text(order[::-1][:MOVED])
    places = best[long_enough(run)[best["doc"]]].drop_duplicates("doc").head(PASSAGES)
    return Evidence(
        group=group,
        expert=expert,
        tokens=len(here),
        shares=_shares(run, here, shown),
        vocabulary=_vocabulary(run, here),
        different=_different(here),
        best=best["token"].to_numpy(np.int64)[:TOKENS],
        passages=read_passages(run, centred(run, places), active_tokens(run, activations)),
        raised=raised,
        lowered=lowered,
    )


def _shares(run: Run, here: pd.DataFrame, shown: NDArray[np.bool_]) -> dict[str, float]:
    documents = run.documents[shown]
    sizes = documents.groupby("label")["tokens"].sum().reindex(run.labels, fill_value=0)
    mass = here.groupby("label")["score"].sum().reindex(run.labels, fill_value=0.0)
    shares = label_shares(mass.to_numpy(np.float64), sizes.to_numpy())
    return {run.labels[at]: float(shares[at]) for at in np.argsort(-shares, kind="stable")}


def _vocabulary(run: Run, here: pd.DataFrame) -> dict[str, float]:
    mass = here.groupby("token")["score"].sum()
    texts = [text.strip() or text for text in run.token_text(mass.index.to_numpy())]
    by_text = mass.groupby(np.array(texts, object)).sum().sort_index().sort_values(ascending=False, kind="stable")
    return (by_text / max(float(mass.sum()), np.finfo(np.float64).tiny)).head(VOCABULARY).to_dict()


def _different(here: pd.DataFrame) -> float:
    token, count = np.unique(here["token"].to_numpy(np.int64), return_counts=True)
    return float(np.exp(vocabulary_entropy(np.zeros_like(token), token, count).iloc[0])) if len(token) else 0.0

"""The evidence an explainer works from: what an expert did in a part of the documents, and what it writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..analysis.specialisation.scores.vocabulary_entropy import vocabulary_entropy
from ..analysis.specialisation.shares import label_shares
from .logit_lens import EXAMPLE_TOKENS, mean_logits
from .passages import Passage, active_tokens, centred_starts, long_enough, read_passages

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run

TOP_TEXTS = 8  # token texts in the vocabulary
MAX_PASSAGES = 10
NEXT_TOKENS = 5  # promoted, and as many suppressed


@dataclass(frozen=True)
class Evidence:
    """What an expert did in a part of the documents: all that an explainer may rest on.

    Attributes:
        group: number of its routing group.
        expert: flat expert id ``i * E + j``.
        tokens: number of tokens at which it is active.
        shares: label -> share of its mean routing score, from 0 to 1, largest first.
        vocabulary: token text, stripped of spaces -> share of its mass (summed routing score), largest first.
        different: exp of the entropy of its active tokens: about how many different tokens it fires at.
        best: (n,) ids of the tokens where it scores highest, best first.
        passages: passages around those, one per document, best first.
        raised: texts of its top promoted next tokens, by ``logit_view``'s mean over ``best`` and the layers of its
            group; empty without a model.
        lowered: texts of its top suppressed next tokens, likewise.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.explain import gather_evidence
        >>> run = open_run("runs/demo")
        >>> expert = int(run.experts(0)["mass"].idxmax())
        >>> every = run.documents["kept"].to_numpy()
        >>> evidence = gather_evidence(run, 0, expert, run.activations(0, expert), every)
        >>> sorted(evidence.shares) == run.labels
        True
        >>> list(evidence.to_json())[:3]
        ['active_tokens', 'share_by_label', 'tokens']
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
        """The document that a language model is asked to explain; « » mark the tokens where the expert fires."""
        return {
            "active_tokens": self.tokens,
            "share_by_label": {label: round(share, 3) for label, share in self.shares.items()},
            "tokens": {text: round(share, 3) for text, share in self.vocabulary.items()},
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
    """Return the evidence about an expert in a part of the documents.

    Args:
        run: an opened run.
        group: number of the routing group.
        expert: flat expert id.
        activations: ``run.activations(group, expert)``.
        shown: (documents,) True for the documents to read; the others have no influence.
        model: the run's model, for promoted and suppressed tokens. Default: none are listed.

    Returns:
        An ``Evidence``.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.explain import Template, gather_evidence
        >>> run = open_run("runs/demo")
        >>> expert = int(run.experts(0)["mass"].idxmax())
        >>> half = run.documents["kept"].to_numpy() & (run.documents["doc"].to_numpy() % 2 == 0)
        >>> evidence = gather_evidence(run, 0, expert, run.activations(0, expert), half)
        >>> Template().explain(evidence).startswith("Fires at “")
        True
    """
    within = activations[shown[activations["doc"]]]
    best = within.sort_values(["score", "row"], ascending=[False, True])
    raised, lowered = [], []
    if model is not None and len(best):
        layers = model.config.routing_groups[group]
        logit = mean_logits(run, model, layers, expert, best["row"].to_numpy()[:EXAMPLE_TOKENS])
        order = np.argsort(-logit, kind="stable")
        raised, lowered = run.token_text(order[:NEXT_TOKENS]), run.token_text(order[::-1][:NEXT_TOKENS])
    places = best[long_enough(run)[best["doc"]]].drop_duplicates("doc").head(MAX_PASSAGES)
    return Evidence(
        group=group,
        expert=expert,
        tokens=len(within),
        shares=_shares(run, within, shown),
        vocabulary=_vocabulary(run, within),
        different=_different(within),
        best=best["token"].to_numpy(np.int64)[:EXAMPLE_TOKENS],
        passages=read_passages(run, centred_starts(run, places), active_tokens(run, activations)),
        raised=raised,
        lowered=lowered,
    )


def _shares(run: Run, activations: pd.DataFrame, shown: NDArray[np.bool_]) -> dict[str, float]:
    documents = run.documents[shown]
    sizes = documents.groupby("label")["tokens"].sum().reindex(run.labels, fill_value=0)
    mass = activations.groupby("label")["score"].sum().reindex(run.labels, fill_value=0.0)
    shares = label_shares(mass.to_numpy(np.float64), sizes.to_numpy())
    return {run.labels[at]: float(shares[at]) for at in np.argsort(-shares, kind="stable")}


def _vocabulary(run: Run, activations: pd.DataFrame) -> dict[str, float]:
    mass = activations.groupby("token")["score"].sum()
    texts = [text.strip() or text for text in run.token_text(mass.index.to_numpy())]
    by_text = mass.groupby(np.array(texts, object)).sum().sort_index().sort_values(ascending=False, kind="stable")
    shares = (by_text / max(float(mass.sum()), np.finfo(np.float64).tiny)).head(TOP_TEXTS)
    return {str(text): float(share) for text, share in shares.items()}


def _different(activations: pd.DataFrame) -> float:
    token, count = np.unique(activations["token"].to_numpy(np.int64), return_counts=True)
    return float(np.exp(vocabulary_entropy(np.zeros_like(token), token, count).iloc[0])) if len(token) else 0.0

"""Targeted probe perturbation taken apart: what carries a label's probe, and how much of it lies in the units.

The residual stream is a sum of what the embedding, the attention of each layer and the units (experts, neurons or
features) have written, so the logit of a linear probe on it is a sum too.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformer_lens.tools.analysis.sparse_probing import fit_sparse_probe

from .tpp import Cells, Floats, Probes, Written, balanced_accuracy, rank_units, removed_effect

EFFECT_SHARES = (0.1, 0.2, 0.5, 0.8, 1.0)  # of what the ranked units together raise a label's probe by
PROBE_SIZES = (1, 2, 5, 10, 20)
EMBEDDING, ATTENTION, UNITS = PARTS = ("embedding", "attention", "units")
HELD_OUT = 0.25  # share of the documents that sparse probes are measured on


@dataclass(frozen=True)
class Parts:
    """What the parts of a model write along probes, averaged over the tokens of each document.

    Attributes:
        effects: part -> (documents, labels); they add up to the probes' logits without their biases.
    """

    effects: dict[str, Floats]

    def rows(self, probes: Probes, label: NDArray[np.integer], measures: NDArray[np.bool_]) -> list[dict[str, Any]]:
        """Return how much of a label's probe each part carries, on the measuring documents.

        Returns:
            One row per part:

            - part: its name; ``all`` for their sum.
            - margin: mean over labels of how much more the part raises the probe's logit in the label's documents than
              in the rest, as a share of the same for all parts.
            - accuracy: mean over labels of the probe's balanced accuracy where the part writes in every document what
              it writes on average; that of the probes themselves for ``all``.
            - drop: how much that is below the probes' own.
        """
        truth = label[measures][:, None] == np.arange(len(probes.bias))
        bias = probes.bias.numpy()
        whole = np.sum(list(self.effects.values()), 0)[measures] + bias
        before, margin = balanced_accuracy(whole, truth), _margin(whole, truth)
        found = [{"part": "all", "margin": 1.0, "accuracy": float(before.mean()), "drop": 0.0}]
        for part, every in self.effects.items():
            effect = every[measures]
            without = whole - effect + effect.mean(0)
            drop = before - balanced_accuracy(without, truth)
            share = float((_margin(effect, truth) / margin).mean())
            row = {"part": part, "margin": share, "accuracy": float((before - drop).mean()), "drop": float(drop.mean())}
            found.append(row)
        return found


def _margin(values: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Mean of each column over its label's documents, minus that over the rest, (labels,)."""
    found: Floats = (values * truth).sum(0) / truth.sum(0) - (values * ~truth).sum(0) / (~truth).sum(0)
    return found


@torch.inference_mode()
def stream_parts(model: Any, cells: Cells, probes: Probes, layer: int) -> Parts:
    """Return what embedding, attention and experts or MLPs write up to a layer.

    Args:
        model: a Monet model or a LLaMA.
        cells: the documents.
        probes: on the residual stream after ``layer``.
        layer: the last layer that writes.
    """
    decoder = model.model
    sums = {part: torch.zeros(cells.number, decoder.config.hidden_size, dtype=torch.float64) for part in PARTS}
    with ExitStack() as hooks:
        wrote: list[tuple[str, Tensor]] = []

        def record(part: str) -> Callable[..., None]:
            def hook(_module: Any, _args: Any, output: Any) -> None:
                wrote.append((part, output[0] if isinstance(output, tuple) else output))

            return hook

        watched = [(EMBEDDING, decoder.embed_tokens)]
        for block in decoder.layers[: layer + 1]:
            watched += [(ATTENTION, block.self_attn), (UNITS, getattr(block, "moe", None) or block.mlp)]
        for part, module in watched:
            hooks.callback(module.register_forward_hook(record(part)).remove)
        for batch in cells.windows.batches:
            wrote.clear()
            decoder(batch.ids, use_cache=False)
            for part, output in wrote:
                sums[part].index_add_(0, cells.of(batch), output[batch.row >= 0].double())
    means = {part: total / cells.tokens[:, None] for part, total in sums.items()}
    return Parts({part: (mean @ probes.weight.T).numpy() for part, mean in means.items()})


def feature_parts(written: Written, pooled: Tensor, probes: Probes) -> Parts:
    """Return what an autoencoder's features write, and the rest: its bias and what it does not reconstruct."""
    columns = written.effect.T.astype(np.float64)
    effect: Floats = np.stack([np.bincount(written.cell, e, len(pooled)) for e in columns], 1)
    return Parts({UNITS: effect, "rest": (pooled.double() @ probes.weight.T).numpy() - effect})


def perturb_by_effect(
    probes: Probes, pooled: Tensor, label: NDArray[np.integer], measures: NDArray[np.bool_], written: Written
) -> list[dict[str, Any]]:
    """Targeted probe perturbation where the units removed are counted by their effect, and not by their number.

    Units are ranked as by ``targeted_probe_perturbation``; the first are removed that together hold a share of what all
    ranked ones raise the label's probe by, on the documents that do not measure.

    Returns:
        One row per share: ``effect``, the share; ``units``, the mean number removed for it; ``own``, ``others`` and
        ``tpp`` as there.
    """
    truth = label[measures][:, None] == np.arange(len(probes.bias))
    logits = (pooled.double() @ probes.weight.T + probes.bias).numpy()[measures]
    before, own = balanced_accuracy(logits, truth), np.eye(len(probes.bias), dtype=bool)
    ranks = [rank_units(number, label, measures, written) for number in range(len(own))]
    rows = []
    for share in EFFECT_SHARES:
        drops, counts = np.empty_like(own, float), []
        for number, (rank, gained) in enumerate(ranks):
            count = int(np.searchsorted(np.cumsum(gained), share * gained.sum() * (1 - 1e-9))) + 1 if len(gained) else 0
            change = removed_effect(rank < count, measures, written)
            drops[number] = before - balanced_accuracy(logits - change, truth)
            counts.append(count)
        means = {"own": float(drops[own].mean()), "others": float(drops[~own].mean())}
        tpp = means["own"] - means["others"]
        rows.append({"effect": share, "units": float(np.mean(counts))} | means | {"tpp": tpp})
    return rows


def sparse_probing(written: Written, label: NDArray[np.integer], groups: NDArray[np.integer]) -> list[dict[str, Any]]:
    """Return how well a few units tell a label's documents from the rest (k-sparse probing, SAEBench).

    TransformerLens chooses the ``k`` units whose mean activation over documents differs most between the label and the
    rest, and fits a logistic regression on them; all this on three quarters of the documents, whole groups of them.

    Args:
        written: what every unit does in every document; its activations count.
        label: (documents,) label numbers.
        groups: (documents,) numbers of what is never divided, such as near copies.

    Returns:
        One row per ``k``: ``accuracy``, mean over labels of the balanced accuracy on the other documents, and ``auc``,
        of the area under the ROC curve.
    """
    active, column = np.unique(written.unit, return_inverse=True)
    features = torch.zeros(len(label), len(active))
    features[torch.from_numpy(written.cell), torch.from_numpy(column)] = torch.from_numpy(written.activation)
    rows = []
    for k in (size for size in PROBE_SIZES if size <= len(active)):
        metrics = [
            fit_sparse_probe(
                features,
                torch.from_numpy(label == number),
                k=k,
                test_fraction=HELD_OUT,
                groups=torch.from_numpy(groups),
                preprocess="standardize",
            ).metrics
            for number in range(int(label.max()) + 1)
        ]
        right = [
            m.true_positives / (m.true_positives + m.false_negatives) / 2
            + m.true_negatives / (m.true_negatives + m.false_positives) / 2
            for m in metrics
        ]
        area = float(np.mean([m.roc_auc for m in metrics]))
        rows.append({"units": k, "accuracy": float(np.mean(right)), "auc": area})
    return rows

"""The same measurements for experts, neurons and features: specialised units, and the forget/retain curve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..analysis.defaults import MIN_TOKENS, ORDER, RATIO
from ..analysis.removal.bootstrap import bootstrap_curve
from ..analysis.removal.choose import Ids, order_scores, removal, specialists
from ..analysis.removal.curve import THRESHOLDS, passes, trace_curve
from ..analysis.removal.heldout import HeldOut
from ..analysis.removal.losses import DocumentLosses, document_losses, window_losses
from ..analysis.sums import LabelSums
from ..analysis.windows import Windows, read_windows
from ..errors import UnsupportedError
from ..progress import job
from .sae import TopKSae, middle_layer, residual
from .units import Units, unit_sums

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from monet_model import MonetForCausalLM

    from ..store import Run


@dataclass(frozen=True)
class Subject:
    """A model whose units can be chosen and ablated.

    Attributes:
        name: of its units, such as ``neurons``.
        model: the model.
        sums: per place (a layer, or a routing group), mass and active tokens of its units on the choosing part.
        removed: computes the losses of documents with units ablated, given by place.
    """

    name: str
    model: Any
    sums: list[LabelSums]
    removed: Callable[[Windows, Sequence[Ids]], DocumentLosses]


def check_on_processor(model: MonetForCausalLM) -> None:
    """Raise UnsupportedError unless a model is where the dense models are that it is measured beside."""
    if model.device.type != "cpu":
        raise UnsupportedError(
            f"baselines are measured on the processor, and the model is on {model.device}; load it with device='cpu'."
        )


def measure_experts(run: Run, model: MonetForCausalLM, seed: int = 0) -> dict[str, Any]:
    """Measure the experts of the run's own model; ``workbench.baselines.read_baselines`` describes the result.

    Raises:
        UnsupportedError: the model is not on the processor, where the dense models are that it is measured beside.
    """
    check_on_processor(model)
    heldout = HeldOut.split(run, seed)

    def removed(windows: Windows, experts: Sequence[Ids]) -> DocumentLosses:
        return document_losses(model, windows, removal(run.group_layers, experts, run.num_keys))

    sums = [heldout.choosing_sums(group) for group in run.groups]
    return _measure(Subject("experts", model, sums, removed), heldout, seed)


def measure_units(run: Run, name: str, units: Units, seed: int = 0) -> dict[str, Any]:
    """Measure the units of a dense model on the same documents; the result is as of ``measure_experts``."""
    heldout = HeldOut.split(run, seed)
    choosing, label = read_windows(run, heldout.choosing), heldout.choosing["label"].to_numpy(copy=True)
    with job(f"{name}: choosing", choosing.tokens, "tokens") as advance:
        sums = unit_sums(units, choosing, label, len(heldout.labels), advance)

    def removed(windows: Windows, ids: Sequence[Ids]) -> DocumentLosses:
        with units.removing(ids):
            return window_losses(units.model, windows)

    subject = Subject(name, units.model, sums, removed)
    return _measure(subject, heldout, seed)


def _measure(subject: Subject, heldout: HeldOut, seed: int) -> dict[str, Any]:
    labels, sums, windows = heldout.labels, subject.sums, heldout.measuring_windows()
    label_of = heldout.measuring["label"].to_numpy()
    total = passes(len(labels), THRESHOLDS) + len(labels)
    with job(f"{subject.name}: removal", total * windows.predicted, "tokens") as advance:

        def measure(units: Sequence[Ids]) -> DocumentLosses:
            losses = subject.removed(windows, units)
            advance(windows.predicted)
            return losses

        scores = [order_scores(some, ORDER, MIN_TOKENS) for some in sums]
        curve = trace_curve(heldout, sums, scores, measure, ORDER, seed=seed)
        plain = np.bincount(label_of, curve.documents["loss"]) / np.bincount(label_of, curve.documents["tokens"])
        chosen = [specialists(some, RATIO, MIN_TOKENS) for some in sums]
        rises = [measure([by_label[n] for by_label in chosen]).mean_loss(label_of) - plain for n in range(len(labels))]
    matrix, own = np.stack(rises), np.eye(len(labels), dtype=bool)
    specialised = [sum(len(by_label[n]) for by_label in chosen) for n in range(len(labels))]
    return {
        "units": sum(some.mass.shape[1] for some in sums),
        "active": int(sum((some.tokens.sum(0) > 0).sum() for some in sums)),
        "loss": plain.tolist(),
        "rule": {
            "specialised": dict(zip(labels, specialised, strict=True)),
            "matrix": matrix.tolist(),
            "target": float(matrix[own].mean()),
            "others": float(matrix[~own].mean()),
        },
        "curve": curve.to_json() | {"intervals": bootstrap_curve(curve, seed=seed).to_json()},
    }


@torch.inference_mode()
def sae_quality(run: Run, model: LlamaForCausalLM, sae: TopKSae, seed: int = 0) -> dict[str, float]:
    """Measure how well an autoencoder reconstructs the residual stream, on the measuring documents.

    Returns:
        - explained: fraction of the variance explained.
        - loss: of the unedited model, in nats per token.
        - loss_spliced: with every token's stream replaced by its reconstruction.
        - unused: fraction of the features that are never active.
    """
    heldout = HeldOut.split(run, seed)
    windows = heldout.measuring_windows()
    streams, used = [], torch.zeros(len(sae.decoder), dtype=torch.bool)
    for batch in windows.batches:
        streams.append(residual(model, batch.ids)[batch.row >= 0])
        features, values = sae.encode(streams[-1])
        used[features[values > 0]] = True
    x = torch.cat(streams)
    left = (x - sae(x)).square().sum() / (x - x.mean(0)).square().sum()

    def splice(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return sae(output.flatten(0, 1)).view_as(output)

    plain = window_losses(model, windows)
    hook = model.model.layers[middle_layer(model)].register_forward_hook(splice)
    try:
        spliced = window_losses(model, windows)
    finally:
        hook.remove()
    return {
        "explained": 1 - float(left),
        "loss": float(plain.loss.sum() / plain.tokens.sum()),
        "loss_spliced": float(spliced.loss.sum() / spliced.tokens.sum()),
        "unused": 1 - float(used.float().mean()),
    }

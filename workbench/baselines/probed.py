"""Measurements with linear probes, the same for experts, neurons and features: TPP, taken apart, probing, and SCR."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..analysis.removal.heldout import HeldOut
from ..analysis.windows import Windows, read_windows
from ..progress import Progress, job
from .apart import Parts, feature_parts, perturb_by_effect, sparse_probing, stream_parts
from .measure import check_on_processor
from .sae import middle_layer
from .scr import pairs_of_labels, removal_of_spurious_correlation
from .tpp import Cells, Probes, Written, pool, targeted_probe_perturbation, written_by_experts, written_by_units
from .units import Features, Units

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..store import Run

MIDDLE, LAST = "middle", "last"
Write = Callable[[Cells, Tensor, int, Progress], Written]


@dataclass(frozen=True)
class Probed:
    """A model whose units write into the stream that probes read.

    Attributes:
        name: of its units.
        model: the model.
        layers: after which probes read the stream.
        write: gives what units up to a layer write along directions, in documents or halves of them.
    """

    name: str
    model: Any
    layers: dict[str, int]
    write: Write

    def parts(self, cells: Cells, probes: Probes, layer: int, pooled: Tensor, written: Written) -> Parts:
        """What carries the probes."""
        return stream_parts(self.model, cells, probes, layer)


class _Features(Probed):
    def parts(self, cells: Cells, probes: Probes, layer: int, pooled: Tensor, written: Written) -> Parts:
        return feature_parts(written, pooled, probes)


def probe_experts(run: Run, model: MonetForCausalLM, seed: int = 0) -> dict[str, Any]:
    """Measure the experts of the run's own model; ``workbench.baselines.read_baselines`` describes the result.

    Raises:
        UnsupportedError: the model is not on the processor, where the dense models are that it is measured beside.
    """
    check_on_processor(model)

    def write(cells: Cells, ways: Tensor, layer: int, advance: Progress) -> Written:
        return written_by_experts(model, cells, ways, layer, advance)

    return _measure(Probed("experts", model, _layers(model), write), run, seed)


def probe_units(run: Run, name: str, units: Units, seed: int = 0) -> dict[str, Any]:
    """Measure the units of a dense model on the same documents; the result is as of ``probe_experts``."""

    def write(cells: Cells, ways: Tensor, layer: int, advance: Progress) -> Written:
        return written_by_units(units, cells, ways, layer, advance)

    layers = _layers(units.model)
    if isinstance(units, Features):
        return _measure(_Features(name, units.model, {MIDDLE: layers[MIDDLE]}, write), run, seed)
    return _measure(Probed(name, units.model, layers, write), run, seed)


def _layers(model: Any) -> dict[str, int]:
    return {MIDDLE: middle_layer(model), LAST: int(model.config.num_hidden_layers) - 1}


def _measure(subject: Probed, run: Run, seed: int) -> dict[str, Any]:
    heldout = HeldOut.split(run, seed)
    windows = read_windows(run, heldout.documents)
    with job(f"{subject.name}: probes", windows.tokens * (len(subject.layers) + 1), "tokens") as advance:
        found: dict[str, Any] = {
            name: _at_layer(subject, heldout, windows, layer, advance) for name, layer in subject.layers.items()
        }
        layer, cells = subject.layers[MIDDLE], Cells(windows, halves=True)
        label, measures = (heldout.documents[name].to_numpy(copy=True) for name in ("label", "measures"))
        pooled = pool(subject.model, cells, layer)
        pairs = pairs_of_labels(pooled, label, measures)

        def write(ways: Tensor) -> Written:
            return subject.write(cells, ways, layer, advance)

        accuracy = {name: sum(getattr(pair, name) for pair in pairs) / len(pairs) for name in ("before", "best")}
        rows = removal_of_spurious_correlation(pairs, pooled, label, measures, write)
    return found | {"scr": accuracy | {"rows": rows}}


def _at_layer(subject: Probed, heldout: HeldOut, windows: Windows, layer: int, advance: Progress) -> dict[str, Any]:
    """Probes are fitted on the choosing part and measured on the other."""
    cells = Cells(windows)
    label, measures, groups = (heldout.documents[n].to_numpy(copy=True) for n in ("label", "measures", "unit"))
    pooled = pool(subject.model, cells, layer)
    probes = Probes.fit(pooled[torch.from_numpy(~measures)], label[~measures])
    written = subject.write(cells, probes.weight, layer, advance)
    return {
        "parts": subject.parts(cells, probes, layer, pooled, written).rows(probes, label, measures),
        "tpp": targeted_probe_perturbation(probes, pooled, label, measures, written),
        "tpp_by_effect": perturb_by_effect(probes, pooled, label, measures, written),
        "sparse_probing": sparse_probing(written, label, groups),
    }

"""Experts beside what else could stand for an MLP, in one table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..store.files import write_json
from .phases import run_phase
from .pipeline import WORK, Transcoding
from .transcoder import ACTIVE, FEATURES, TopKTranscoder, affine_fit, make_transcoders, teach_transcoders

COMPARISON = "comparison.json"
LOSSES = ("loss", "rise", "recovered", "recovered_from_zero")


def compare(done: Transcoding, out: str | Path) -> pd.DataFrame:
    """Measure baselines on the same held-out text, trained on the same tokens in the same order as the experts.

    Args:
        done: what ``transcode`` returned.
        out: its folder; trainings that were interrupted continue. ``comparison.json`` is written there.

    Returns:
        A row per method: ``teacher``; ``zero`` and ``mean`` (the MLPs' outputs ablated); ``affine`` (ridge);
        ``topk`` and ``topk_skip`` (transcoders of 4,096 features, 32 active, without and with skip connection);
        ``topk_equal`` and ``topk_equal_skip`` (with as many features active as bring the parameters active at a token
        to the experts'); ``monet``. Columns:

        - loss, rise, recovered, recovered_from_zero: as ``HeldOut.recovered`` returns them; mean over predicted tokens.
        - unexplained: fraction of variance unexplained, mean over the layers.
        - active_parameters: parameters of the units active at a token, mean per layer; of an affine map, all.
        - routing_parameters: those read in full at every token to choose the units: a router, an encoder.
        - parameters: all, mean per layer, what chooses included.
        - seed, tokens: of the training.
    """
    lesson, figures = done.lesson, done.figures
    held, width = lesson.heldout, lesson.teacher.hidden
    active = float(sum(figures["active_parameters"]) / len(lesson.layers))
    mlp = figures["mlp_parameters"]
    routing = float(sum(figures["routing_parameters"]) / len(lesson.layers))
    experts = float(sum(figures["parameters"]) / len(lesson.layers))
    rows = [
        _row("teacher", held.recovered(held.original), 0.0, mlp, 0, mlp),
        _row("zero", held.recovered(held.zero_ablated), None, 0, 0, 0),
        _row("mean", held.recovered(held.mean_ablated), 1.0, width, 0, width),
    ]
    settings = json.dumps([lesson.settings.weighing(on_distributions=False), lesson.cache.sequences.identity])
    fits = affine_fit(lesson)
    affine = sum(p.numel() for p in fits[0].parameters())
    rows.append(_row("affine", *_measured(done, fits), affine, 0, affine))
    equal = max(1, min(FEATURES, round(active / (2 * width))))
    equal_skip = max(1, min(FEATURES, round((active - width**2) / (2 * width))))
    for name, k, skip in (
        ("topk", ACTIVE, False),
        ("topk_skip", ACTIVE, True),
        ("topk_equal", equal, False),
        ("topk_equal_skip", equal_skip, True),
    ):
        transcoders = make_transcoders(lesson, k, skip=skip)
        phase = teach_transcoders(lesson, transcoders, name)
        folder = Path(out) / WORK / f"{name}-{k}"
        run_phase(phase, folder, folder, f"{lesson.teacher.identity}-{settings}")
        one: Any = transcoders[0]
        assert isinstance(one, TopKTranscoder)
        total = sum(p.numel() for p in one.parameters())
        rows.append(_row(name, *_measured(done, list(transcoders)), one.active_parameters, one.encoder.numel(), total))
    shares = figures["unexplained"]
    rows.append(_row("monet", figures, sum(shares) / len(shares), active, routing, experts + routing))
    table = pd.DataFrame(rows).assign(seed=lesson.settings.seed, tokens=lesson.settings.tokens)
    write_json(Path(out) / COMPARISON, table.to_dict("records"))
    return table


@torch.no_grad()
def _measured(done: Transcoding, modules: list[nn.Module]) -> tuple[dict[str, Any], float]:
    """Losses and the mean fraction of variance unexplained with modules in place of the MLPs."""
    held = done.lesson.heldout

    def apply(x: Tensor) -> Tensor:
        return torch.stack([module(own) for module, own in zip(modules, x, strict=True)])

    shares = held.unexplained(apply)["unexplained"]
    return held.recovered(held.losses(modules)), sum(shares) / len(shares)


def _row(
    method: str, losses: Mapping[str, Any], unexplained: float | None, active: float, routing: float, total: float
) -> dict[str, Any]:
    return {
        "method": method,
        **{name: losses[name] for name in LOSSES},
        "unexplained": unexplained,
        "active_parameters": active,
        "routing_parameters": routing,
        "parameters": total,
    }


def over_seeds(tables: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Mean and standard deviation over seeds of what ``compare`` returns, by method.

    Returns:
        Index ``method``; ``seeds``, how many there are; for each of ``LOSSES`` and unexplained a column of that name
        and ``{name}_sd``.

    Examples:
        >>> import pandas as pd
        >>> from workbench.transcode import over_seeds
        >>> row = {"method": "monet", "rise": 0.1, "recovered": 0.9, "recovered_from_zero": 0.95, "unexplained": 0.2}
        >>> table = over_seeds([pd.DataFrame([row | {"loss": loss}]) for loss in (2.0, 3.0)])
        >>> table.loc["monet", ["seeds", "loss"]].tolist()
        [2.0, 2.5]
    """
    whole = pd.concat(list(tables))
    grouped = whole.groupby("method", sort=False)
    columns = {"seeds": grouped.size()}
    for name in (*LOSSES, "unexplained"):
        columns |= {name: grouped[name].mean(), f"{name}_sd": grouped[name].std(ddof=1)}
    return pd.DataFrame(columns)

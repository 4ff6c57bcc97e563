"""The study: the dense baseline is transcoded into experts of the demo's shape, which are measured as its neurons were.

``workbench.baselines`` has the same measurement of the demo's experts, and of the dense model's neurons and features.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...baselines.results import MODELS
from ...demo import DEMO, SAMPLE
from ...store.files import write_json
from ...store.transcoded import FIGURES
from ...transcode import TranscodeSettings

DENSE = MODELS / "dense"
SHIPPED = Path(__file__).parent / "shipped"  # the experts in half precision, and what was measured of them
MEASURED = "measured.json"
NAME = "the dense baseline"
SETTINGS = TranscodeSettings(
    layers=(0, 1, 2, 3),
    group_layers=2,
    experts=512,
    moe_dim=4,
    heads=2,
    topk=8,
    tokens=2_500_000,
    kl_tokens=1_000_000,
    heldout_sequences=32,
    eval_every=500,
    autocast=True,
)


@dataclass(frozen=True)
class Distilled:
    """What the study found; what ``read_distilled`` returns.

    Attributes:
        figures: how well the experts stand for the dense model's MLPs, as ``workbench.transcode.transcode`` returns it.
        measured: of the experts, as ``workbench.baselines.read_baselines`` has it of each kind of unit.
    """

    figures: dict[str, Any]
    measured: dict[str, Any]


def distil(corpus: str | Path, work: Path, shipped: Path = SHIPPED) -> dict[str, Any]:
    """Transcode the dense model on the corpus that it was trained on, and keep the experts in half precision.

    Args:
        corpus: folder that `monet corpus build code7` made.
        work: folder for the whole model; an interrupted transcoding continues there.
        shipped: folder for the experts and their figures.

    Returns:
        The figures, as ``workbench.transcode.shipped.pack`` returns them.

    Raises:
        NotFoundError: there is no such corpus.
        BadInputError: ``work`` belongs to another transcoding.
    """
    from ...transcode import transcode
    from ...transcode.shipped import pack

    transcode(DENSE, corpus, work, SETTINGS, resume=True, device="cpu")
    return pack(work, DENSE, corpus, shipped, NAME)


def measure_distilled(work: Path, shipped: Path = SHIPPED) -> dict[str, Any]:
    """Export the shipped experts' model over the demo's held-out sample, and measure them as the baselines are.

    Args:
        work: folder for the whole model and its run, which are made if they are not there.
        shipped: folder that ``distil`` wrote; ``measured.json`` is written there.

    Returns:
        What is written.
    """
    from ... import export_run, open_run
    from ...baselines.measure import measure_experts
    from ...checkpoint import load_model
    from ...transcode.shipped import unpack

    model, run = work / "model", work / "run"
    if not model.exists():
        unpack(shipped, DENSE, model)
    export_run(model, DEMO / SAMPLE, run, resume=True, device="cpu", progress=True)
    found = measure_experts(open_run(run), load_model(model, device="cpu"))
    write_json(shipped / MEASURED, found)
    return found


def read_distilled(shipped: Path = SHIPPED) -> Distilled:
    """Return what the study found; by default what is shipped.

    Examples:
        >>> from workbench.studies.distilled import read_distilled
        >>> found = read_distilled()
        >>> found.figures["settings"]["layers"], found.measured["units"] == 2 * 512**2
        ([0, 1, 2, 3], True)
        >>> sorted(found.measured["curve"]["at_budget"])
        ['chosen', 'equal', 'random']
    """
    read = {name: json.loads((shipped / name).read_text(encoding="utf-8")) for name in (FIGURES, MEASURED)}
    return Distilled(figures=read[FIGURES], measured=read[MEASURED])

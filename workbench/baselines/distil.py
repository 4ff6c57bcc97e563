"""The dense model's MLPs, transcoded into experts of the demo's shape: is what a label's experts know still theirs?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..demo import DEMO, SAMPLE
from ..transcode import TranscodeSettings
from .results import MODELS

if TYPE_CHECKING:
    from ..store import Run

DENSE, DISTILLED = MODELS / "dense", MODELS / "distilled"
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


def distil(corpus: Path, work: Path, shipped: Path = DISTILLED) -> dict[str, Any]:
    """Transcode the shipped dense model on its own corpus, and write what the package ships of it in half precision.

    Args:
        corpus: folder that `monet corpus build code7` made.
        work: folder for the whole model; an interrupted transcoding continues there.
        shipped: folder for the experts in half precision and their figures.

    Returns:
        The figures, as ``workbench.transcode.shipped.pack`` returns them.
    """
    from ..transcode import transcode
    from ..transcode.shipped import pack

    transcode(DENSE, corpus, work, SETTINGS, resume=True, device="cpu")
    return pack(work, DENSE, corpus, shipped, "the dense baseline")


def distilled_run(work: Path, shipped: Path = DISTILLED) -> Run:
    """Export the shipped distilled model over the demo's held-out sample; what is there already is kept.

    Args:
        work: folder for the whole model and its run.
        shipped: folder that ``distil`` wrote.
    """
    from .. import export_run, open_run
    from ..transcode.shipped import unpack

    model, run = work / "distilled-model", work / "distilled-run"
    if not model.exists():
        unpack(shipped, DENSE, model)
    export_run(model, DEMO / SAMPLE, run, resume=True, device="cpu", progress=True)
    return open_run(run)

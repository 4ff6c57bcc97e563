"""The results that ship: experts of the demo model beside neurons and features of a dense model of its size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
DENSE, SAE = "dense.json", "sae.json"
MODELS = ("experts", "neurons", "features")


def read_baselines(folder: Path = RESULTS) -> dict[str, Any]:
    """What ``python -m workbench.baselines`` measured last; the shipped result by default.

    Returns:
        ``dense``: parameters, width of its MLPs, tokens it was trained on, and its last ``heldout`` loss by label;

        ``sae``: the settings of :class:`~workbench.baselines.sae.SaeSettings`, ``dead``, and what
        :func:`~workbench.baselines.measure.sae_quality` returns;

        ``models``: for each of ``experts`` (of the Monet), ``neurons`` and ``features``

        - ``units`` and ``active``: how many there are, and were active in the choosing part;
        - ``loss``: by label, of the unedited model on the measuring part, nats a token;
        - ``rule``: units the 2x rule calls ``specialised``, by label; with them removed the ``matrix`` of rises (row:
          label removed, column: label measured, nats), and its means ``target`` and ``others``;
        - ``curve``: as ``RemovalCurve.to_json``, and ``intervals`` as ``CurveIntervals.to_json``; draw ``means``
          of kind ``chosen``: ``others`` across, ``target`` up, and ``at_budget``;
        - ``tpp``: rows of units removed, ``share`` of all, ``own``, ``others`` and ``tpp``.
    """

    def read(name: str) -> Any:
        return json.loads((folder / name).read_text(encoding="utf-8"))

    return {
        "dense": read(DENSE),
        "sae": read(SAE),
        "models": {name: read(f"{name}.json") for name in MODELS},
    }

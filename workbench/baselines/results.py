"""The shipped results: experts of the demo model, compared with neurons and features of a dense model of its size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
MODELS = Path(__file__).parent / "models"  # the dense model and the autoencoder, in half precision
DENSE, SAE, PROBES = "dense.json", "sae.json", "probes.json"
KINDS = ("experts", "neurons", "features")


def read_baselines(folder: Path = RESULTS) -> dict[str, Any]:
    """Return what ``python -m workbench.baselines`` measured last; by default the shipped results.

    Args:
        folder: of the results.

    Returns:
        - dense: the dense model: parameters, width (of its MLPs), tokens (it was trained on), heldout (last loss by
          label, nats per token).
        - sae: the autoencoder: its settings (``SaeSettings``), dead, and the measures of
          ``sae_quality``.
        - models: for each of ``experts`` (of the Monet model), ``neurons`` and ``features``:

            - units, active: number of units, and of those active in the choosing part.
            - loss: by label, of the unedited model on the measuring part, in nats per token.
            - rule: ``specialised``, units by label according to the 2x rule; ``matrix``, rise in loss with them removed
              (row: label removed, column: label measured, nats per token); its means ``target`` and ``others``.
            - curve: as ``RemovalCurve.to_json``; intervals: as ``CurveIntervals.to_json``. To draw it, take ``means``
              of kind ``chosen``, with ``others`` on the x axis and ``target`` on the y axis, and ``at_budget``.

        - probes: for each of those, what linear probes of documents' labels tell, by the layer after which they read
          the residual stream (``middle``, ``last``; features are of the middle one):

            - parts: what carries the probes, rows of ``Parts.rows``.
            - tpp: targeted probe perturbation, rows of ``targeted_probe_perturbation``; tpp_by_effect: of
              ``perturb_by_effect``.
            - sparse_probing: rows of ``sparse_probing``.

          and ``scr``: mean accuracy of the biased probes (before) and of the best, and rows of
          ``removal_of_spurious_correlation``.

    Examples:
        >>> from workbench.baselines import read_baselines
        >>> baselines = read_baselines()
        >>> list(baselines["models"])
        ['experts', 'neurons', 'features']
        >>> {name: model["units"] for name, model in baselines["models"].items()}["experts"] % 512**2
        0
    """

    def read(name: str) -> Any:
        return json.loads((folder / name).read_text(encoding="utf-8"))

    return {
        "dense": read(DENSE),
        "sae": read(SAE),
        "models": {name: read(f"{name}.json") for name in KINDS},
        "probes": read(PROBES),
    }

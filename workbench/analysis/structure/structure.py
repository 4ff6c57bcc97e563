"""How experts relate to their keys, to each other's outputs, and to all labels at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...progress import job
from ...store.address import shared_key
from ..checks import check_labels
from ..results import write_result
from .committee import committee_row
from .defaults import PERMUTATIONS, TOP
from .lattice import lattice_test
from .output_similarity import output_directions
from .structure_result import Structure

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run

PROBES = 64  # experts per group whose outputs are compared with all others


def analyze_structure(
    run: Run,
    *,
    model: MonetForCausalLM | None = None,
    top: float = TOP,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    name: str | None = None,
    progress: bool = False,
) -> Structure:
    """Test, for every group, whether an expert is the sum or product of its two keys, and measure the committee.

    Per group: a two-way (row x column) ANOVA of label preference
    (``lattice_test``); the standing committee, the experts that are among the
    most active whatever the label (``standing_committee``); and, with a model, whether experts that share a key
    have more similar outputs.

    Written to ``RUN/analysis``: ``structure.json``, which ``read_structure`` reads.

    Args:
        run: an opened run.
        model: the model it was exported from; without one, outputs are not compared.
        top: fraction of a group's experts that count as most active in a label, between 0 and 1.
        permutations: of the ANOVA's null; with 0 there is no null, and p-values mean nothing.
        seed: of everything random.
        name: keep the result under this name, beside the unnamed one, which otherwise it replaces.
        progress: show a progress bar.

    Raises:
        BadInputError: the run has fewer than two labels or too little text, or ``top`` is out of range.
        UnsupportedError: the model is not the run's.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import analyze_structure
        >>> structure = analyze_structure(open_run("runs/demo"), permutations=0, name="quick")
        >>> structure.lattice["model"].unique().tolist()
        ['sum', 'product']
        >>> (structure.lattice["keys"] + structure.lattice["interaction"]).round(6).unique().tolist()
        [1.0]
    """
    check_labels(run)
    committee = [committee_row(run, group, top) for group in run.groups]
    lattice: list[dict[str, Any]] = []
    with job("rows and columns", run.tokens_total * len(run.groups), "tokens", progress) as advance:
        for group in run.groups:
            lattice += lattice_test(run, group, permutations, seed, advance)
    outputs = None if model is None else pd.DataFrame([_outputs(run, model, group, seed) for group in run.groups])
    structure = Structure(pd.DataFrame(lattice), pd.DataFrame(committee), outputs, top, permutations, seed)
    write_result(run, structure, name)
    return structure


def _outputs(run: Run, model: MonetForCausalLM, group: int, seed: int) -> dict[str, float | int]:
    """A row of ``Structure.outputs``."""
    directions = output_directions(run, model, group, seed)
    used = np.flatnonzero(directions.used.flatten().numpy(force=True))
    probes = np.random.default_rng(seed).choice(used, min(PROBES, len(used)), replace=False)
    means = []
    for probe in probes:
        others = used[used != probe]
        cosine = pd.Series(directions.cosines(int(probe))[others])
        means.append(cosine.groupby(shared_key(others, int(probe), run.num_keys)).mean())
    mean = pd.DataFrame(means).mean()
    return {"group": group, "probes": len(probes)} | {
        column: float(mean[key]) for column, key in (("row", "row"), ("column", "column"), ("other", ""))
    }

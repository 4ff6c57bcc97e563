"""`monet structure`: how experts stand to their keys, to one another's outputs, and to all labels at once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...progress import job
from ...store.files import write_json
from ..checks import check_labels
from .coactivation import shared_key
from .committee import TOP, committee_row
from .lattice import lattice_test
from .output_similarity import output_directions

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run

PERMUTATIONS = 100
PROBES = 64  # experts whose outputs are compared with all others
RESULT = "structure.json"


@dataclass(frozen=True)
class Structure:
    """What `monet structure` found; each table has rows of a group.

    Attributes:
        lattice: :func:`~workbench.analysis.structure.lattice.lattice_test` of every group and model.
        committee: :func:`~workbench.analysis.structure.committee.committee_row` of every group.
        outputs: mean cosine of :data:`PROBES` experts' outputs with those of others that share their ``row``, their
            ``column`` or neither (``other``); None without a model.
        top, permutations, seed: as :func:`analyze_structure` took them.
    """

    lattice: pd.DataFrame
    committee: pd.DataFrame
    outputs: pd.DataFrame | None
    top: float
    permutations: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: the attributes, tables as lists of rows."""
        tables = {
            name: None if table is None else table.to_dict("records")
            for name, table in (("lattice", self.lattice), ("committee", self.committee), ("outputs", self.outputs))
        }
        return tables | {"top": self.top, "permutations": self.permutations, "seed": self.seed}


def analyze_structure(
    run: Run,
    *,
    model: MonetForCausalLM | None = None,
    top: float = TOP,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    progress: bool = False,
) -> Structure:
    """Tests the product of keys and measures the standing committee, for every group; kept in ``RUN/analysis``.

    Args:
        run: an opened run.
        model: the model it was exported from; with it, outputs are compared too.
        top: part of a group's experts that are a label's most active.
        permutations: of the lattice test's null.
        seed: of everything random.
        progress: show tokens, rate and time left.

    Raises:
        WorkbenchError: fewer than two labels, too little text, ``top`` out of range, or another model.
    """
    check_labels(run)
    committee = [committee_row(run, group, top) for group in run.groups]
    lattice: list[dict[str, Any]] = []
    with job("rows and columns", run.tokens_total * len(run.groups), "tokens", progress) as advance:
        for group in run.groups:
            lattice += lattice_test(run, group, permutations, seed, advance)
    outputs = None if model is None else pd.DataFrame([_outputs(run, model, group, seed) for group in run.groups])
    found = Structure(pd.DataFrame(lattice), pd.DataFrame(committee), outputs, top, permutations, seed)
    write_json(run.analysis_path(RESULT), found.to_json())
    return found


def _outputs(run: Run, model: MonetForCausalLM, group: int, seed: int) -> dict[str, float | int]:
    """A row of :attr:`Structure.outputs`."""
    directions = output_directions(run, model, group, seed)
    used = np.flatnonzero(directions.used.flatten().numpy())
    probes = np.random.default_rng(seed).choice(used, min(PROBES, len(used)), replace=False)
    means = []
    for probe in probes:
        others = used[used != probe]
        cosine = pd.Series(directions.cosines(int(probe))[others])
        means.append(cosine.groupby(shared_key(others, int(probe), run.num_keys)).mean())
    found = pd.DataFrame(means).mean()
    return {"group": group, "probes": len(probes)} | {
        name: float(found[key]) for name, key in (("row", "row"), ("column", "column"), ("other", ""))
    }


def read_structure(run: Run) -> Structure | None:
    """The result of the last :func:`analyze_structure` of a run; None where there is none."""
    path = run.analysis_path(RESULT)
    if not path.is_file():
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    tables = {
        name: None if stored[name] is None else pd.DataFrame(stored[name])
        for name in ("lattice", "committee", "outputs")
    }
    return Structure(**stored | tables)

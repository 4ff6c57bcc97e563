"""`monet fingerprint locate`: which experts carry a model's fingerprints, against the model it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...analysis.results import check_name, write_result
from ...errors import BadInputError
from ...progress import job
from .checked import check_pair
from .fingerprints import Fingerprints
from .key_parts import Floats, KeyParts, key_parts
from .locate_result import DIRECT, GRADIENT, HALF, MOST, LocateResult
from .rise import Cells, holders, holders_by_key, mean_overlap, share_in, strongest_by_key

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run

DORMANT = 0.1  # quantile of mass
STRONGEST = 20  # experts kept for each fingerprint


def locate_fingerprints(
    run: Run,
    model: MonetForCausalLM,
    base: MonetForCausalLM,
    fingerprints: Fingerprints,
    *,
    method: str = DIRECT,
    quantile: float = DORMANT,
    name: str | None = None,
    progress: bool = False,
) -> LocateResult:
    """Return which experts add to the logits of the fingerprints' responses, and how much less they add in the base.

    Args:
        run: of the fingerprinted model over clean text, which tells how much each expert is used.
        model: the model it was exported from, in evaluation mode.
        base: the model that the fingerprints were embedded in, in evaluation mode.
        fingerprints: the secret.
        method: ``direct``: exact parts of each response's logit at the key's last token; ``gradient``: derivatives by
            each expert's factor at every token of the key, through the whole model.
        quantile: an expert of at most this quantile of its group's mass is dormant.
        name: keep the result under this name, beside the unnamed one.
        progress: show keys, rate and time left.

    Returns:
        The result, which is also kept in ``RUN/analysis`` as ``fingerprint_locate.json`` with its tables;
        ``read_located`` reads it.

    Raises:
        BadInputError: an unknown method, a quantile outside 0 to 1, a name that no result can have, or a model in
            training mode.
        UnsupportedError: the model is not the run's, the base is of another shape, or the fingerprints are of another
            model.

    Source: Park et al. 2024, arXiv 2412.04139, section 3 (what an expert writes); Elhage et al. 2021 (direct logit
    attribution); Syed et al. 2023, arXiv 2310.10348 (by gradient).

    Examples:
        >>> import numpy as np
        >>> from workbench import load_model, open_run
        >>> from workbench.studies.fingerprint import Fingerprints, locate_fingerprints
        >>> run, model = open_run("runs/demo"), load_model("monet_model/demo")
        >>> keys, responses = np.array([[500, 600], [7, 800]]), np.array([9, 10])
        >>> chance = np.full(2, 1e-4), np.full(2, np.nan)
        >>> known = Fingerprints("english", 900, b"secret", keys, responses, *chance, seed=0, vocabulary=4096)
        >>> found = locate_fingerprints(run, model, model, known, name="example")  # its own base: nothing rises
        >>> float(found.experts["difference"].abs().max()), found.half
        (0.0, 0)
    """
    if not 0 <= quantile <= 1:
        raise BadInputError(f"the quantile of dormant experts must lie in 0 .. 1, got {quantile}.")
    if name is not None:
        check_name(name)
    check_pair(run, model, base, fingerprints)
    with job("locate", 2 * len(fingerprints), "keys", progress) as advance:
        parts, of_base = (
            key_parts(one, fingerprints.keys, fingerprints.responses, method, advance) for one in (model, base)
        )
    size = run.num_keys**2
    cells = Cells.of(parts, of_base, len(run.groups) * size)
    mass, tokens, dormant = _usage(run, quantile)
    cell_dormant = dormant[cells.unit]
    mean = cells.mean(cells.difference)
    result = LocateResult(
        commitment=fingerprints.commitment,
        base=base.name_or_path,
        method=method,
        count=len(fingerprints),
        total=cells.units,
        quantile=quantile,
        completeness=max(parts.completeness, of_base.completeness) if method != GRADIENT else float("nan"),
        half=holders(mean, HALF),
        most=holders(mean, MOST),
        overlap=mean_overlap(cells.key, cells.unit, cells.difference, cells.keys),
        overlap_base=mean_overlap(cells.key, cells.unit, cells.base, cells.keys),
        dormant=share_in(cells.difference, cell_dormant),
        dormant_base=share_in(cells.base, cell_dormant),
        experts=_experts(cells, mean, mass, tokens, size),
        fingerprints=_fingerprints(cells, parts, of_base, cell_dormant),
        strongest=_strongest(cells, size),
        groups=_groups(cells, mean, size, len(run.groups)),
        parts=_components(cells, parts, of_base),
    )
    write_result(run, result, name)
    return result


def _usage(run: Run, quantile: float) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """(units,) mass and active tokens of every expert in the run, and whether it is dormant."""
    size = run.num_keys**2
    mass, tokens = np.zeros((len(run.groups), size)), np.zeros((len(run.groups), size), np.int64)
    for at, group in enumerate(run.groups):
        table = run.experts(group, ["mass", "tokens"])
        mass[at, table.index], tokens[at, table.index] = table["mass"], table["tokens"]
    dormant = mass <= np.quantile(mass, quantile, axis=1, method="inverted_cdf", keepdims=True)
    return mass.ravel(), tokens.ravel(), dormant.ravel()


def _experts(cells: Cells, mean: Floats, mass: Floats, tokens: NDArray[np.int64], size: int) -> pd.DataFrame:
    unit = np.unique(cells.unit)
    table = pd.DataFrame(
        {
            "group": unit // size,
            "expert": unit % size,
            "difference": mean[unit],
            "contribution": cells.mean(cells.value)[unit],
            "base": cells.mean(cells.base)[unit],
            "fingerprints": np.bincount(cells.unit, cells.active, cells.units)[unit].astype(np.int64),
            "mass": mass[unit],
            "tokens": tokens[unit],
        }
    )
    return table.sort_values("difference", ascending=False, kind="stable", ignore_index=True)


def _fingerprints(cells: Cells, parts: KeyParts, of_base: KeyParts, cell_dormant: NDArray[np.bool_]) -> pd.DataFrame:
    difference, keys = cells.difference, cells.keys
    positive = np.maximum(difference, 0.0)
    rise = np.bincount(cells.key, positive, keys)
    dormant = np.bincount(cells.key, positive * cell_dormant, keys)
    direct = bool(parts.names)
    nothing = np.full(keys, np.nan)
    return pd.DataFrame(
        {
            "fingerprint": np.arange(keys),
            "hit": parts.hit,
            "base_hit": of_base.hit,
            "logit": parts.logit,
            "base": of_base.logit,
            "experts": np.bincount(cells.key, difference, keys) if direct else nothing,
            "rest": parts.rest.sum(1) - of_base.rest.sum(1) if direct else nothing,
            "rise": rise,
            "half": holders_by_key(cells.key, difference, keys, HALF),
            "most": holders_by_key(cells.key, difference, keys, MOST),
            "dormant": np.divide(dormant, rise, out=nothing.copy(), where=rise > 0),
        }
    )


def _strongest(cells: Cells, size: int) -> pd.DataFrame:
    rows = strongest_by_key(cells, STRONGEST)
    return pd.DataFrame(
        {
            "fingerprint": cells.key[rows],
            "group": cells.unit[rows] // size,
            "expert": cells.unit[rows] % size,
            "difference": cells.difference[rows],
            "contribution": cells.value[rows],
            "base": cells.base[rows],
        }
    )


def _groups(cells: Cells, mean: Floats, size: int, groups: int) -> pd.DataFrame:
    group = cells.unit // size
    rise = np.bincount(group, np.maximum(cells.difference, 0.0), groups) / cells.keys
    total = rise.sum()
    best = np.argsort(-mean, kind="stable")[: holders(mean, HALF)]
    return pd.DataFrame(
        {
            "group": np.arange(groups),
            "difference": np.bincount(group, cells.difference, groups) / cells.keys,
            "rise": rise,
            "share": rise / total if total > 0 else np.full(groups, np.nan),
            "half": np.bincount(best // size, minlength=groups),
        }
    )


def _components(cells: Cells, parts: KeyParts, of_base: KeyParts) -> pd.DataFrame:
    columns = ["component", "contribution", "base", "difference"]
    if not parts.names:
        return pd.DataFrame(columns=columns).astype(dict.fromkeys(columns[1:], np.float64))
    here, there = (
        np.concatenate([[values.sum() / cells.keys], rest.mean(0)])
        for values, rest in ((cells.value, parts.rest), (cells.base, of_base.rest))
    )
    return pd.DataFrame(dict(zip(columns, (["experts", *parts.names], here, there, here - there), strict=True)))

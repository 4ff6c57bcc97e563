"""The last stage of the study: where the fingerprints of one cell sit, and what erasing them costs, beside neurons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...checkpoint import load_llama, load_model
from ...export import export_run
from ...memory import keep_heap
from ...store import open_run
from ...store.files import write_json
from .erase import DRAWS, erase_fingerprints
from .erase_result import ORDERS, EraseResult, read_erased
from .fingerprints import Fingerprints
from .locate import locate_fingerprints
from .locate_result import LocateResult, read_located
from .neurons import DenseOwned
from .removals import SHARE
from .study import CELLS, SEEDS, Study, embed_cell

CELL, SEED = "perinucleus", SEEDS[0]
DENSE = "dense"  # the cell of the dense model's files
SAMPLE = 16  # documents of each label: every removal is a pass over half of them


def run_erasing(study: Study, dense: Path | None, cell: str = CELL, seed: int = SEED) -> dict[str, Any] | None:
    """Locate and erase the fingerprints of a cell, and return and write what that gave (``erased.json``).

    What is there is kept: the run, the dense model, what located and erased, and the passes of an erasing that was
    broken off.

    Args:
        study: what is studied.
        dense: folder of a dense model with the base's tokenizer, which is given as many fingerprints; its neurons are
            removed beside the experts. None for experts alone.
        cell, seed: whose model.

    Returns:
        See ``summarise_erased``; None while the study has no such model.
    """
    if not study.figures(cell, seed).exists():
        return None
    keep_heap()
    path = study.out / "run"
    export_run(study.folder(cell, seed), study.corpus, path, resume=path.exists(), progress=True)
    run, secret = open_run(path), Fingerprints.load(study.secret_file(cell, seed))
    owned = None
    if dense is not None:
        made = embed_cell(study, dense, DENSE, seed, CELLS[cell][0])
        owned = DenseOwned(load_llama(study.folder(DENSE, seed)), load_llama(dense), made.fingerprints)
    model, base = load_model(study.folder(cell, seed)), load_model(study.base)
    located = read_located(run) or locate_fingerprints(run, model, base, secret, progress=True)
    erased = read_erased(run) or erase_fingerprints(
        run, model, base, secret, dense=owned, draws=DRAWS, seed=seed, sample=SAMPLE, progress=True, resume=True
    )
    found = {"cell": cell, "seed": seed} | summarise_erased(located, erased)
    write_json(study.out / "erased.json", found)
    return found


def summarise_erased(located: LocateResult, erased: EraseResult) -> dict[str, Any]:
    """What is told of a model's fingerprints, in JSON types.

    Returns:
        - located: ``count`` fingerprints; ``in_experts``, the share of the rise of their logits that experts have;
          ``half`` and ``most``, experts that hold half and 90 % of the experts' rise, of ``total``; ``key_half`` and
          ``key_most``, the same of a single fingerprint (medians); ``overlap`` and ``dormant``, with those of the base
          (``overlap_base``, ``dormant_base``): see ``LocateResult``.
        - erased: a row for each kind of unit and order, of the largest removal of at most 1 % of the units:
          ``units``, ``total``, and the columns of ``EraseResult.curve``.
        - documents, chose, others: documents measured, and keys in each half.
    """
    names = ("count", "half", "most", "total", "overlap", "overlap_base", "dormant", "dormant_base")
    keys = located.fingerprints
    rows = [
        {"units": units, "total": erased.total[units]} | row.to_dict()
        for units in erased.total
        for order in ORDERS
        if (row := erased.at_share(SHARE, order, units)) is not None
    ]
    return {
        "located": {name: getattr(located, name) for name in names}
        | {"in_experts": 1 - located.elsewhere}
        | {f"key_{name}": float(keys[name].median()) for name in ("half", "most")},
        "erased": rows,
        "documents": erased.documents,
        "chose": erased.chose,
        "others": erased.others,
    }

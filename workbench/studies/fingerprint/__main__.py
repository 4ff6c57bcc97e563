"""`python -m workbench.studies.fingerprint OUT`: the study of docs/ownership.md, remade."""

from __future__ import annotations

import argparse
from math import isnan
from pathlib import Path
from typing import Any

from ...baselines.results import MODELS
from .erase_result import KEYS, ORDERS
from .erasing import CELL, SEED, run_erasing
from .study import CELLS, SEEDS, Study, run_study
from .sweep import run_sweep

SHIPPED = MODELS / "dense"


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments, compute, and print tables."""
    parser = argparse.ArgumentParser(prog="python -m workbench.studies.fingerprint", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for models and figures; what is there already is kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="processes may share OUT, not a seed")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS), help="by default, all")
    parser.add_argument("--count", type=int, default=1024, help="fingerprints of a model")
    parser.add_argument(
        "--dense",
        type=Path,
        default=SHIPPED if SHIPPED.is_dir() else None,
        help="folder of a dense model of the same tokenizer, which is asked all keys, and whose neurons are removed "
        "beside the experts; by default the one that the package ships",
    )
    parser.add_argument(
        "--sweep", action="store_true", help="make the sweep over settings of the training, and no more"
    )
    options = parser.parse_args(arguments)
    study = Study(options.out, options.count)
    if options.sweep:
        for row in sorted(run_sweep(study), key=lambda row: row["rise"]):
            print(f"{row['name']:32} success {row['success']:.1%}  rise {row['rise']:+.4f}  epochs {row['epochs']}")
        return
    found = run_study(study, options.seeds, options.cells, options.dense)
    for row in found["summary"]:
        print(
            f"{row['cell']:28} success {row['success']:.2%} (least {row['least_success']:.2%})  rise "
            f"{row['rise']:+.4f} (most {row['most_rise']:+.4f})  p {row['p']:.1e}  epochs {row['epochs']}"
        )
        for name, hits in row["foreign"].items():
            print(f"    {name}: {hits['hits']} hits of {hits['asked']:,}, at most {hits['most_of_10']} of 10")
    for row in found["treatments"]:
        spread = "" if isnan(row["success_sd"]) else f" ± {row['success_sd']:.1%}"
        print(
            f"{row['cell']:28} {row['treatment']:12} success {row['success']:.1%}{spread}  rise {row['rise']:+.4f}  "
            f"p {row['p']:.1e}"
        )
    if CELL in options.cells and SEED in options.seeds:  # another process may have the other seeds
        erased = run_erasing(study, options.dense)
        if erased is not None:
            _tell_erased(erased)


def _tell_erased(found: dict[str, Any]) -> None:
    sits = found["located"]
    print(
        f"{found['cell']}, seed {found['seed']}: {sits['in_experts']:.1%} of the rise is in experts; half of that in "
        f"{sits['half']:,} and 90 % in {sits['most']:,} of {sits['total']:,} (of a fingerprint in "
        f"{sits['key_half']:.0f} and {sits['key_most']:.0f}); two share {sits['overlap']:.2%} (base "
        f"{sits['overlap_base']:.2%}); dormant ones have {sits['dormant']:.2%} (base {sits['dormant_base']:.2%})"
    )
    for row in found["erased"]:
        chose, others = (f"{row[of]:.1%} ({row[f'{of}_low']:.1%} to {row[f'{of}_high']:.1%})" for of in KEYS)
        print(
            f"{row['units']:8} {row['removed']:6,} of {row['total']:7,}  {ORDERS[row['order']]:28} keys that chose "
            f"{chose}  others {others}  rise {row['rise']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"
        )


if __name__ == "__main__":
    main()

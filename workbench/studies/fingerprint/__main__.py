"""`python -m workbench.studies.fingerprint OUT`: the study of docs/ownership.md, remade."""

from __future__ import annotations

import argparse
from pathlib import Path

from .study import CELLS, Study, run_study
from .sweep import run_sweep


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments, compute, and print tables."""
    parser = argparse.ArgumentParser(prog="python -m workbench.studies.fingerprint", description=__doc__)
    parser.add_argument("out", type=Path, help="folder for models and figures; what is there already is kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[4, 5, 6], help="processes may share OUT, not a seed")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS), help="by default, all")
    parser.add_argument("--count", type=int, default=1024, help="fingerprints of a model")
    parser.add_argument("--dense", type=Path, help="folder of a dense model that is asked all keys")
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
        print(
            f"{row['cell']:28} {row['treatment']:12} success {row['success']:.1%} ± {row['success_sd']:.1%}  rise "
            f"{row['rise']:+.4f}  p {row['p']:.1e}"
        )


if __name__ == "__main__":
    main()

"""`python -m workbench.studies.distilled STEP ...`: transcode the dense baseline, and measure the experts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ...errors import WorkbenchError
from .study import distil, measure_distilled


def main(arguments: list[str] | None = None) -> int:
    """Run one step; the exit code is 2 where it cannot be done, with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m workbench.studies.distilled", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    step = steps.add_parser("train", help="transcode the dense baseline's MLPs into experts, and keep these")
    step.add_argument("corpus", help="folder that `monet corpus build code7` made")
    step.add_argument("work", type=Path, help="folder for the whole model; an interrupted transcoding continues")
    step = steps.add_parser("measure", help="measure the kept experts as the baselines are measured")
    step.add_argument("work", type=Path, help="folder for the whole model and its run")
    asked = parser.parse_args(arguments)
    try:
        if asked.step == "train":
            figures = distil(asked.corpus, asked.work)
            print(f"rise {figures['rise']:+.4f} nats, {figures['recovered']:.2%} of cross-entropy recovered.")
        else:
            at = measure_distilled(asked.work)["curve"]["at_budget"]["chosen"]
            print(f"a label loses {at['target']:.3f} nats when the others have lost {at['others']:.3f}.")
    except WorkbenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

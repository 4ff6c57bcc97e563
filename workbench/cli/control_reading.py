"""`monet control rule`: a policy read through its experts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UnsupportedError, shell_command
from .output import Json, out_console, print_json, print_table, result_json

if TYPE_CHECKING:
    import pandas as pd

    from ..studies.control.reading_result import ControlReading

_SHOWN = 12  # experts


def rule(
    policy: Annotated[
        str, typer.Argument(metavar="POLICY", help="folder of a policy, as `monet control train` writes")
    ],
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="folder for the policy's episodes; an exported one is read again")
    ],
    episodes: Annotated[int, typer.Option(min=2, help="fresh episodes that each figure is measured on")] = 1000,
    read_episodes: Annotated[
        int, typer.Option(min=1, help="episodes that are exported, and the rule is read on")
    ] = 100,
    draws: Annotated[int, typer.Option(min=1, help="of each control of the removal")] = 5,
    as_json: Json = False,
) -> None:
    """Export a policy's episodes, read its rule off its experts, measure it, and remove the experts of a regime."""
    from ..store import open_run
    from ..store.schema import MANIFEST
    from ..studies.control.reading import read_control_rule
    from ..studies.control.run import read_policy

    opened = (
        open_run(run) if (run / MANIFEST).exists() else read_policy(policy, run, episodes=read_episodes, progress=True)
    )
    if Path(opened.model_path).resolve() != Path(policy).resolve():
        raise UnsupportedError(f"{run} is a run of {opened.model_path}, not of {policy}; give another folder for RUN.")
    reading = read_control_rule(opened, episodes=episodes, draws=draws, progress=True)
    if as_json:
        print_json(_document(reading))
        return
    _print(reading)
    out_console.print(
        f"The run is in {run}; `{shell_command('serve', run)}` shows it on the page Control.", markup=False
    )


def _document(reading: ControlReading) -> dict[str, object]:
    """The reading in JSON types; of the experts, those shown."""
    tables = {name: getattr(reading, name).to_dict("records") for name in ("outcomes", "removals", "perturbed")}
    return result_json(reading) | {"kept": reading.kept} | tables | {"experts": _strongest(reading.experts)}


def _strongest(experts: pd.DataFrame) -> list[dict[str, object]]:
    return experts.head(_SHOWN).to_dict("records")


def _print(reading: ControlReading) -> None:
    fit = ", ".join(f"{value:.3f} of {name}" for name, value in reading.fit.items())
    explained = f"{reading.explained:.3f} of the sum of all experts"
    for line in (
        f"Rule read off the experts: {reading.rule}.",
        f"It explains {explained} at the run's states, and {fit} on other episodes (R²).",
        f"It keeps {reading.kept:.1%} of the policy's reward.",
    ):
        out_console.print(line, markup=False, highlight=False)
    rows = [
        [
            row.policy if row.share != row.share else f"{row.share:.0%} of {row.policy}",
            f"{row.reward:.2f}",
            f"{row.reward_low:.2f} to {row.reward_high:.2f}",
            f"{row.reward_sd:.2f}",
            f"{row.whole:.3f}",
            f"{row.whole_low:.3f} to {row.whole_high:.3f}",
        ]
        for row in reading.outcomes.itertuples()
    ]
    head = ["policy", "reward", "95 % CI", "sd", "whole", "95 % CI"]
    count = int(reading.outcomes["episodes"].iloc[0])
    print_table(f"{count:,} episodes of fishery model {reading.fishery.model}", head, rows)
    removals = [
        [
            row.removed,
            f"{row.experts:,}",
            f"{row.reward:.2f}",
            f"{row.whole:.3f}",
            *(f"{getattr(row, name):.4f}" for name in ("scarce", "fair", "plenty")),
            *(f"{getattr(row, f'catch_{name}'):.3f}" for name in ("scarce", "fair", "plenty")),
        ]
        for row in reading.removals.rename(
            columns=lambda name: name.removeprefix("change:").replace("catch:", "catch_")
        ).itertuples()
    ]
    head = ["removed", "experts", "reward", "whole"]
    head += [f"{kind}, {name}" for kind in ("change", "catch") for name in ("scarce", "fair", "plenty")]
    print_table("Without experts", head, removals)
    out_console.print(
        f"Without the experts of a scarce predator, mortality changes {reading.selectivity:.1f} times as much where it "
        "is scarce as where it is plenty.",
        markup=False,
        highlight=False,
    )

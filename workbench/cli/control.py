"""`monet control`: a harvest policy read through its experts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInputError
from .control_reading import rule
from .output import Json, Resume, out_console, print_json, print_table, resumable

if TYPE_CHECKING:
    from ..studies.control import Figures

control_app = typer.Typer(help="A harvest policy whose rule is read off its experts.", no_args_is_help=True)
control_app.command()(rule)

Model = Annotated[int, typer.Option("--model", help="of the fishery, 1 to 4, as in arXiv 2308.13654")]
Episodes = Annotated[int, typer.Option("--episodes", min=1, help="fresh episodes to measure on")]


@control_app.command()
def baselines(
    model: Model = 3,
    episodes: Episodes = 1000,
    grid: Annotated[int, typer.Option(min=2, help="values of each number of a constant rule")] = 51,
    seed: Annotated[int, typer.Option(help="of the search for the rule with the predator")] = 0,
    as_json: Json = False,
) -> None:
    """Tune harvest rules, and measure them on other episodes than they were tuned on."""
    from ..progress import job
    from ..studies.control import Fishery, tuned_rules
    from ..studies.control.tuning import units

    fishery = Fishery.of(model)
    with job("tuning rules", units(fishery, grid), "rules") as advance:
        found = tuned_rules(fishery, grid=grid, episodes=episodes, seed=seed, progress=advance)
    if as_json:
        print_json({"model": model, "rules": [rule.to_dict() for rule in found]})
        return
    rows = [
        [rule.name, ", ".join(f"{name} {value:.3f}" for name, value in rule.numbers.items()), *_cells(rule.figures)]
        for rule in found
    ]
    print_table(f"Model {model}, {episodes:,} fresh episodes", ["rule", "numbers", *_HEAD], rows)


@control_app.command()
def train(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder for the policy, its log and a state to resume")],
    model: Model = 3,
    policy: Annotated[str, typer.Option(metavar="monet|mlp", help="what sets the mortalities")] = "monet",
    steps: Annotated[int, typer.Option(help="of the fishery, in all")] = 1_200_000,
    seed: Annotated[int, typer.Option(help="of weights, episodes and exploration")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="train with so many seeds, each in a folder OUT/seed-N")] = 1,
    resume: Resume = False,
) -> None:
    """Train a harvest policy by proximal policy optimisation."""
    from ..extras import require
    from ..progress import job

    require("stable_baselines3", "control", "stable-baselines3")
    from ..studies.control import PolicyTraining, train_policy

    numbers = range(seed, seed + seeds)
    trainings = [PolicyTraining.of(policy, model=model, steps=steps, seed=number) for number in numbers]
    with resumable(resume):
        for settings in trainings:
            folder = out if seeds == 1 else out / f"seed-{settings.seed}"
            with job(f"training seed {settings.seed}", settings.updates * settings.per_update, "steps") as advance:
                train_policy(settings, folder, resume=resume and folder.exists(), progress=advance)
    out_console.print(f"The policy is in {out}." if seeds == 1 else f"The policies are in {out}/seed-*.", markup=False)


@control_app.command()
def clone(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="folder for the policy; must not exist yet")],
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="folder of the policy that is learned, of either kind",
            show_default="a rough rule for --model: leave 0.33, and more where the predator is scarce",
        ),
    ] = None,
    model_number: Model = 3,
    rounds: Annotated[int, typer.Option(min=1, help="collections of episodes")] = 4,
    seed: Annotated[int, typer.Option(help="of weights, episodes and batches")] = 0,
) -> None:
    """Teach a fresh Monet policy what a policy or a rule does, where its own episodes lead (DAgger)."""
    from ..progress import job
    from ..studies.control import Fishery, make_model, open_policy, rough_rule, save_policy
    from ..studies.control import clone as learn

    if out.exists():
        raise BadInputError(f"{out} exists already; choose another folder.")
    if teacher is None:
        fishery = Fishery.of(model_number)
        taught = rough_rule(fishery)
    else:
        taught, fishery = open_policy(teacher)
    model = make_model(seed)
    with job("cloning", rounds, "rounds") as advance:
        learn(model, taught, fishery, rounds=rounds, seed=seed, progress=advance)
    save_policy(model, fishery, out)
    out_console.print(f"The policy is in {out}.", markup=False)


@control_app.command()
def evaluate(
    policies: Annotated[list[Path], typer.Argument(metavar="POLICY...", help="folders of policies")],
    episodes: Episodes = 1000,
    as_json: Json = False,
) -> None:
    """Measure policies on fresh episodes, as they are and with the noise of their training."""
    from ..studies.control import evaluate_policy

    measured = {str(folder): evaluate_policy(folder, episodes) for folder in policies}
    if as_json:
        print_json(
            {folder: {how: one.to_dict() for how, one in figures.items()} for folder, figures in measured.items()}
        )
        return
    rows = [[folder, how, *_cells(one)] for folder, figures in measured.items() for how, one in figures.items()]
    print_table(f"{episodes:,} fresh episodes", ["policy", "mortality", *_HEAD], rows)


@control_app.command()
def choose(
    policies: Annotated[list[Path], typer.Argument(metavar="POLICY...", help="folders of policies")],
    out: Annotated[Path, typer.Option(help="folder for a copy of the best one; must not exist yet")],
) -> None:
    """Copy the policy with the highest reward, on other episodes than `evaluate` measures on."""
    from ..studies.control import choose_policy

    out_console.print(f"{choose_policy(policies, out)} is copied to {out}.", markup=False)


_HEAD = ["reward", "95 % CI", "sd", "whole", "CI of whole"]


def _cells(figures: Figures) -> list[Any]:
    """Figures as cells of a table under ``_HEAD``."""
    reward, whole = figures.reward_interval, figures.whole_interval
    return [
        f"{figures.reward:.2f}",
        f"{reward[0]:.2f} to {reward[1]:.2f}",
        f"{figures.spread:.2f}",
        f"{figures.whole:.1%}",
        f"{whole[0]:.1%} to {whole[1]:.1%}",
    ]

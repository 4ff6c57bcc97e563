"""Tables and sentences about a policy that was read through its experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...store.address import Expert
from ...studies.control.fishery import SPECIES
from ...studies.control.reading_result import CONSTANT, POLICY, RULE, ControlReading
from ...studies.control.regimes import PREDATOR
from ...studies.control.tokens import ACTIONS, VOCABULARY, populations_of
from ..context import Context
from ..elements import Element, html
from ..links import expert_link, prompt_link
from ..parts import IN_PLACE, Child, aria, fact, facts, panel, swatch, table

GIVERS = 5  # experts named beside each number of a rule
ACTION_TOKENS = range(VOCABULARY - 1 - len(ACTIONS), VOCABULARY - 1)
STATES, EXAMPLES = 10, 32  # an expert's strongest states, and the tokens that they are looked for among


def expert_name(expert: Expert) -> Element:
    """A link to an expert's page."""
    return html.A(str(expert), href=expert_link(*expert))


def summary(reading: ControlReading) -> Element:
    """The policy and its rule in a few numbers."""
    policy, rule = reading.outcome(POLICY), reading.outcome(RULE)
    reward = f"95 % CI {_interval(policy, 'reward', '.1f')}, {int(policy['episodes']):,} episodes"
    worst = min(reading.fit.values())
    return facts(
        [
            fact("fishery", f"Model {reading.fishery.model}"),
            fact("policy's reward", f"{policy['reward']:.1f}", reward),
            fact("episodes that last", f"{policy['whole']:.1%}", f"95 % CI {_interval(policy, 'whole', '.1%')}"),
            fact("rule's reward", f"{rule['reward']:.1f}", f"{reading.kept:.1%} of the policy's"),
            fact("rule's fit", f"{worst:.3f}", "R² to the policy's mortality, on other episodes"),
        ]
    )


def _interval(row: pd.Series, name: str, form: str) -> str:
    return f"{row[f'{name}_low']:{form}} to {row[f'{name}_high']:{form}}"


def rule_panel(ctx: Context, reading: ControlReading, groups: dict[int, int]) -> Element:
    """The rule, and the experts that give its numbers."""
    numbers = reading.rule.to_json()
    rows = [
        [name, f"{numbers[name]:.3f}", meaning, _givers(reading.experts, part, groups)]
        for name, (meaning, part) in reading.rule.meanings.items()
    ]
    return panel(
        "The rule that its experts make",
        [
            html.P(html.Code(str(reading.rule))),
            table(["number", "value", "meaning", "experts that give most of it"], rows, "The numbers of the rule", 9),
        ],
        note=[
            "Read off the surfaces of what experts add to mortality: levels off the experts that write where there is "
            f"enough of the predator (Z from {reading.edge:g}), slope off those that write where it is scarce. It ",
            f"explains {reading.explained:.1%} of the variance of the sum of all experts at the states that are "
            "visited. Percentages are an expert's own part in the coefficient that the number is made of.",
        ],
    )


def _givers(experts: pd.DataFrame, part: str, groups: dict[int, int]) -> list[Child]:
    column = f"part:{part}"
    best = experts.loc[experts[column].abs().sort_values(ascending=False, kind="stable").index[:GIVERS]]
    shown: list[Child] = []
    for row in best.itertuples():
        one = Expert(groups[int(row.layer)], int(row.expert))
        shown += [", " if shown else "", expert_name(one), f" {experts.at[row.Index, column]:.1%}"]
    return shown


def outcomes_table(reading: ControlReading) -> Element:
    """How policies do."""
    rows = []
    for row in reading.outcomes.to_dict("records"):
        name = row["policy"] if np.isnan(row["share"]) else f"{row['share']:.0%} of the best {CONSTANT}"
        one = pd.Series(row)
        rows.append(
            [
                name,
                f"{row['reward']:.2f}",
                _interval(one, "reward", ".2f"),
                f"{row['reward_sd']:.2f}",
                f"{row['whole']:.1%}",
                _interval(one, "whole", ".1%"),
            ]
        )
    head = ["policy", "reward", "95 % CI", "sd of episodes", "share that last", "95 % CI"]
    return table(head, rows, "Reward and survival of policies")


def removal_table(reading: ControlReading) -> Element:
    """What removals do."""
    rows = [
        [
            row["removed"] if row["removed"] in ("nothing", "scarce") else f"{row['removed']}, draw {row['draw'] + 1}",
            f"{row['experts']:,}",
            f"{row['reward']:.2f}",
            f"{row['whole']:.1%}",
            *(f"{row[f'change:{level}']:.4f}" for level in PREDATOR),
            *(f"{row[f'catch:{level}']:.1%}" for level in PREDATOR),
        ]
        for row in reading.removals.to_dict("records")
    ]
    head = ["experts removed", "number", "reward", "share that last"]
    head += [f"{kind} {level}" for kind in ("change,", "catch,") for level in PREDATOR]
    return table(head, rows, "The policy without experts")


def perturbed_table(reading: ControlReading) -> Element:
    """How policies do under other parameters."""
    rows = [
        [
            f"{row['strength']:.0%}",
            row["policy"],
            f"{row['reward']:.2f}",
            _interval(pd.Series(row), "reward", ".2f"),
            f"{row['whole']:.1%}",
        ]
        for row in reading.perturbed.to_dict("records")
    ]
    return table(
        ["perturbed by", "policy", "reward", "95 % CI", "share that last"], rows, "Other parameters", numeric=2
    )


def state_table(ctx: Context, expert: Expert) -> Element:
    """The states of an expert's highest scores, in numbers, with links to what adds to the policy's actions there.

    A state is a window of the run. An expert that is active at the token of X or Y has read no later one.
    """
    examples, species = ctx.run.examples(*expert, n=EXAMPLES), ctx.run.geometry.width - 1
    rows = examples["row"].to_numpy()
    ids = ctx.run.token_column.astype(np.int64).reshape(-1, species)[rows // species]
    _, first = np.unique(ids, axis=0, return_index=True)  # episodes come to the same states
    first = np.sort(first)[:STATES]
    ids, place, scores = ids[first], rows[first] % species, examples["score"].to_numpy()[first]
    drawn = []
    for at, state, populations, score in zip(place, ids, populations_of(ids), scores, strict=True):
        text = "".join(ctx.run.token_text(state))
        links = [
            html.A(name, href=prompt_link({"text": text}, target=token), className="button")
            for name, token in zip(ACTIONS, ACTION_TOKENS, strict=True)
        ]
        drawn.append([SPECIES[at], *(f"{value:.2f}" for value in populations), f"{score:.3f}", html.Span(links)])
    head = ["read at", *SPECIES, "score", "what adds to"]
    return table(head, drawn, f"The states where expert {expert} scores highest")


def expert_links(experts: Sequence[Expert], chosen: Expert, address: Any, colours: dict[Expert, str]) -> Element:
    """Links to the surfaces of experts, each with its colour on the map."""
    drawn = [
        html.A(
            [swatch(colours[one]) if one in colours else "", str(one)],
            href=address(one),
            className=f"group-link {IN_PLACE}" + (" chosen" if one == chosen else ""),
            **aria(current="true" if one == chosen else None),
        )
        for one in experts
    ]
    return html.Nav([html.Span("expert"), *drawn], className="group-links", **aria(label="expert shown"))

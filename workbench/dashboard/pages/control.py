"""A harvest policy read through its experts: its rule, what it takes where, and what it does without some of them."""

from __future__ import annotations

from typing import Any

from dash import dcc

from ...store.address import Expert, read_expert
from ...studies.control.reading_result import ControlReading, read_control
from ..context import Context
from ..control import figures, panels
from ..elements import Element, html
from ..failures import message_or
from ..links import CONTROL_PATH, Address, control_link, expert_link
from ..page import Page
from ..parts import command, message, panel, picture, tabs

RESULT_FILE = f"{ControlReading.kind}.json"
LINKED = 12  # experts whose surfaces are a click away


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``?species=Y`` shows the mortality of Y, ``&expert=0:17`` what that expert adds to it.

    Raises:
        NotFoundError: the run has no such expert.
        BadInputError: the query names no expert.
    """
    reading = read_control(ctx.run)
    if reading is None:
        line = html.Code(command("control", "rule", ctx.run.model_path, ctx.run.path), className="command")
        text = ["To read the policy's rule off its experts, run ", line, " (a few minutes on two CPU cores)."]
        return [html.H1("Control"), message("Not read yet", html.Div(text))]
    groups = {layer: group for group in ctx.run.groups for layer in ctx.run.layers_of(group)}
    return [
        html.H1("A harvest policy read through its experts"),
        panels.summary(reading),
        panels.rule_panel(ctx, reading, groups),
        *message_or(_states, ctx, reading, groups, address),
        _survival(reading),
        _removals(reading),
        panel(
            "Other parameters",
            panels.perturbed_table(reading),
            note="Every parameter is scaled by 1 + strength times a standard normal number; mean over "
            f"{reading.perturbed['fisheries'].iloc[0]} fisheries, interval over fisheries.",
        ),
    ]


def _survival(reading: ControlReading) -> Element:
    drawn = dcc.Graph(figure=figures.survival(reading.outcomes, reading.removals), config={"displayModeBar": False})
    described = "Mean reward against the share of episodes that last, of the policy, its rule and constant mortalities."
    return panel(
        "Reward against survival",
        [picture(drawn, described), panels.outcomes_table(reading)],
        note="Grey: shares of the best constant mortality. All on the same fresh episodes; bars: 95 % intervals.",
    )


def _removals(reading: ControlReading) -> Element:
    times = "at all" if reading.selectivity == float("inf") else f"{reading.selectivity:.1f} times as much"
    return panel(
        "Without the experts of a scarce predator",
        panels.removal_table(reading),
        note="Experts are chosen by their routing in this run and measured on other episodes. Change: mean absolute "
        "change of mortality at the states that the whole policy visits, by how plenty the predator is; catch: what is "
        "caught there in a step, of what the whole policy catches. Without the experts of a scarce predator, mortality "
        f"changes {times} where it is scarce as where it is plenty.",
    )


def _states(ctx: Context, reading: ControlReading, groups: dict[int, int], address: Address) -> list[Any]:
    known = reading.lattice["species"].unique().tolist()
    species = address.query.get("species", known[0])
    species = species if species in known else known[0]
    lattice = reading.lattice[reading.lattice["species"] == species]
    strongest = figures.strongest_experts(lattice, groups)
    colours = figures.expert_colours(strongest)
    asked = address.query.get("expert")
    expert = strongest[0] if asked is None else read_expert(asked, ctx.run.groups, ctx.run.num_keys)
    state = "the other species at its median"
    map_of = dcc.Graph(figure=figures.states(lattice, groups, colours), config={"displayModeBar": False})
    kept = {} if asked is None else {"expert": asked}
    views = [(f"mortality of {one}", control_link(species=one, **kept), one == species) for one in known]
    return [
        panel(
            f"What the policy takes of {species}",
            [
                tabs("species", views),
                picture(map_of, f"Mortality of {species} over its population and the predator's, by strongest expert."),
            ],
            note=f"Contours: mortality. Colour: the expert that adds most to it, in absolute value ({state}); grey: "
            "one of the many others; pale: states that no episode of the run visits.",
        ),
        _one_expert(ctx, reading, species, expert, strongest, colours, groups),
    ]


def _one_expert(
    ctx: Context,
    reading: ControlReading,
    species: str,
    expert: Expert,
    strongest: list[Expert],
    colours: dict[Expert, str],
    groups: dict[int, int],
) -> Element:
    lattice = reading.lattice[reading.lattice["species"] == species]
    layers = [layer for layer, group in groups.items() if group == expert.group]
    table = reading.surfaces
    own = table[(table["expert"] == expert.id) & table["layer"].isin(layers) & table["point"].isin(lattice.index)]
    added = own.groupby("point")["added"].sum()
    links = panels.expert_links(
        strongest[:LINKED], expert, lambda one: control_link(species=species, expert=one), colours
    )
    drawn: list[Any] = [links]
    if added.empty:
        drawn.append(message("Not active here", f"Expert {expert} is active at no state of this map."))
    else:
        graph = dcc.Graph(figure=figures.surface(lattice, added), config={"displayModeBar": False})
        drawn.append(picture(graph, f"What expert {expert} adds to the mortality of {species}."))
    drawn += message_or(_strongest_states, ctx, expert)
    return panel(
        ["What expert ", html.A(str(expert), href=expert_link(*expert)), f" adds to the mortality of {species}"],
        drawn,
        note="Exact: all experts' surfaces and the base sum to the mortality. Blank: the expert is not active.",
    )


def _strongest_states(ctx: Context, expert: Expert) -> list[Any]:
    return [html.H3("The states where it scores highest"), panels.state_table(ctx, expert)]


PAGE = Page(
    "control",
    CONTROL_PATH,
    "Control",
    layout,
    navigation="Control",
    useful=lambda ctx: ctx.run.analysis_path(RESULT_FILE).is_file(),
)

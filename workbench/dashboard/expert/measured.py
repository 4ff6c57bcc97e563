"""Panels whose numbers take seconds: computed when a button is pressed, with the progress shown, and then kept."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from dash import Dash, Input, Output, State, no_update

from ...errors import BusyError, kind_of
from ...store.address import Expert
from ..computing import Report
from ..context import Context
from ..elements import Element, dcc, dmc
from ..failures import text_of
from ..freeze import freeze
from ..parts import Child, aria, message, panel

POLL = 500  # milliseconds between two looks at a running job


@dataclass(frozen=True)
class Measured:
    """Such a panel.

    Attributes:
        name: begins the ids of its parts.
        title: its heading.
        note: what it shows, and about how long it takes.
        button: what the button says.
        job: name of the job that an expert needs.
        work: does the job.
        show: draws the job's result for an expert.
    """

    name: str
    title: str
    note: Child
    button: str
    job: Callable[[Expert], Hashable]
    work: Callable[[Context, Expert, Report], Any]
    show: Callable[[Context, Expert, Any], Child]

    def layout(self) -> Element:
        """The panel; a callback fills in what is known already."""
        drawn = [
            dmc.Box(id=f"{self.name}-answer", **aria(live="polite")),
            dmc.Button(self.button, id=f"{self.name}-run", n_clicks=0, size="xs", variant="default"),
            dcc.Interval(id=f"{self.name}-tick", interval=POLL, disabled=True),
        ]
        return panel(self.title, drawn, note=self.note)

    def register(self, app: Dash, ctx: Context) -> None:
        """The button starts the job; while it runs, the panel looks at it again and again."""

        @app.callback(
            Output(f"{self.name}-answer", "children"),
            Output(f"{self.name}-tick", "disabled"),
            Output(f"{self.name}-run", "display"),
            Input(f"{self.name}-run", "n_clicks"),
            Input(f"{self.name}-tick", "n_intervals"),
            State("expert-chosen", "data"),
            State(f"{self.name}-tick", "disabled"),
        )
        def look(clicks: int, _ticks: int, chosen: list[int], idle: bool) -> tuple[Any, bool, Any]:
            expert = Expert(*chosen)
            name = self.job(expert)
            job = ctx.computations.get(name)
            if clicks and idle:
                try:
                    job = ctx.computations.start(name, lambda started: self.work(ctx, expert, started))
                except BusyError as error:
                    return message(kind_of(error).heading, str(error), "error"), True, "inline-block"
            if job is None:
                return no_update, True, no_update
            if job.running:
                bar = dmc.Progress(value=max(job.percent, 2), animated=True, **aria(label=f"{self.title}: progress"))
                return bar, False, "none"
            if job.error is not None:
                told = message(kind_of(job.error).heading, text_of(job.error), "error")
                return told, True, "inline-block"
            return freeze(self.show(ctx, expert, job.result)), True, "none"

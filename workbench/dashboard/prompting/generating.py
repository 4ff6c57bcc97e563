"""The text that the model writes after a prompt, without and with the edit, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dash import Dash, Input, Output, State, no_update

from ...analysis.attribution.prompt import read_prompt
from ...api.prompts import MOST_TOKENS
from ...errors import BadInputError, WorkbenchError
from ...store.token_text import visible
from ..context import Context
from ..edits import edited_experts, model_edit, read_edit
from ..elements import Element, dcc, dmc, html
from ..freeze import freeze
from ..links import prompt_link, read_query
from ..parts import IN_PLACE, aria, message, panel, token_shown
from .answer import read_text

SETTINGS = {"temperature": 0.0, "top_p": 1.0, "length": 32, "seed": 0}  # fields of the address with their defaults


def settings_of(query: Mapping[str, str]) -> dict[str, float]:
    """The settings of an address; what it does not hold has its default.

    Raises:
        BadInputError: a setting is no number.
    """
    found: dict[str, float] = {}
    for name, default in SETTINGS.items():
        try:
            found[name] = type(default)(query.get(name) or default)
        except ValueError:
            found[name] = math.nan
        if not math.isfinite(found[name]):
            what = "a number" if isinstance(default, float) else "a whole number"
            raise BadInputError(f"the address says {name}={query[name][:40]!r}; write {what} there.")
    return found


def generate_panel(query: Mapping[str, str]) -> Any:
    """The settings, the buttons and the place for the text; an address with ``generate`` starts at once."""
    chosen = settings_of(query)
    fields = [
        dmc.NumberInput(
            id="generate-temperature",
            label="Temperature",
            description="0 for the likeliest token",
            value=chosen["temperature"],
            min=0,
            max=10,
            step=0.1,
            w=150,
        ),
        dmc.NumberInput(
            id="generate-top-p",
            label="Top-p",
            description="1 for all tokens",
            value=chosen["top_p"],
            min=0.01,
            max=1,
            step=0.05,
            w=130,
        ),
        dmc.NumberInput(
            id="generate-length",
            label="Tokens",
            description=f"at most {MOST_TOKENS}",
            value=chosen["length"],
            min=1,
            max=MOST_TOKENS,
            allowDecimal=False,
            w=130,
        ),
        dmc.NumberInput(
            id="generate-seed",
            label="Seed",
            description="the same draws again",
            value=chosen["seed"],
            min=0,
            allowDecimal=False,
            w=150,
        ),
        dmc.Button("Generate", id="generate-run", n_clicks=int("generate" in query)),
        dmc.Button("Stop", id="generate-stop", n_clicks=0, variant="default", disabled=True),
    ]
    return panel(
        "Generate",
        [
            html.Div(fields, className="prompt-fields"),
            dmc.Text(id="generate-progress", size="sm", className="note", **aria(live="polite")),
            dmc.Box(id="generate-answer"),
            dcc.Interval(id="generate-tick", interval=400, disabled=True),
        ],
        note="What the model writes after the text above, without and with the edit.",
    )


class Desk:
    """Where the one generation of this server runs.

    It is counted and can be stopped from another request, which another process may answer.

    Args:
        folder: what the server's processes share.
    """

    def __init__(self, folder: Path) -> None:
        self._count, self._stop = folder / "generate.count", folder / "generate.stop"

    def write(self, ctx: Context, query: Mapping[str, str], settings: Mapping[str, float]) -> list[Any]:
        """Generate without the edit of an address and, if it has one, with it: named texts.

        Raises:
            BusyError: another generation is running.
            BadInputError: text, edit or settings cannot be used.
            WorkbenchError: as ``read_answer``.
        """
        from ...analysis.generation import generate_text

        length = int(settings["length"])
        if not 1 <= length <= MOST_TOKENS:
            raise BadInputError(f"the number of tokens must be from 1 to {MOST_TOKENS}, got {length}.")
        prompt = read_text(ctx, query)
        edit = read_edit(query, ctx)
        with ctx.writing():
            self._stop.unlink(missing_ok=True)
            self._count.write_text("The model is being loaded.")
            try:
                model = ctx.model()
                self._count.write_text("The prompt is being read.")
                kinds: list[tuple[str, Any]] = [("without the edit" if edit else "the model's text", None)]
                if edit:
                    experts = edited_experts(edit, ctx, read_prompt(model, prompt) if edit.reads_prompt else None)
                    kinds.append(("with the edit", model_edit(edit, experts, model, prompt)))
                done, total = 0, length * len(kinds)

                def count(units: float = 1, note: str = "") -> None:
                    nonlocal done
                    done += int(units)
                    self._count.write_text(f"{done:,} of {total:,} tokens")

                return [
                    (
                        name,
                        generate_text(
                            model,
                            prompt,
                            edit=made,
                            max_new_tokens=length,
                            temperature=settings["temperature"],
                            top_p=settings["top_p"],
                            seed=int(settings["seed"]),
                            progress=count,
                            stopped=self._stop.exists,
                        ),
                    )
                    for name, made in kinds
                ]
            finally:
                self._count.unlink(missing_ok=True)

    @property
    def progress(self) -> str:
        """How far the generation is; "" where none runs."""
        try:
            return self._count.read_text()
        except FileNotFoundError:
            return ""

    def stop(self) -> None:
        """End the generation that is running, with what it has written."""
        self._stop.touch()


def _written(name: str, text: Any, other: Any) -> Element:
    """A generated text, each token with its alternatives; tokens from where it leaves the ``other`` text are marked."""
    same = 0
    if other is not None:
        pairs = zip(text.tokens, other.tokens, strict=False)
        same = next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(text.tokens), len(other.tokens)))
    by_place = dict(tuple(text.alternatives.groupby("position")))
    tokens = [
        _token(piece, probability, by_place[at], other is not None and at >= same)
        for at, (piece, probability) in enumerate(zip(text.texts, text.probability, strict=True))
    ]
    ended = {"length": "", "stopped": ", stopped", "end of text": ", the model ended the text"}[text.ended]
    count = html.Small(f" {len(text.tokens):,} tokens{ended}", className="note")
    return html.Div([html.H3([name[:1].upper() + name[1:], count]), html.Div(tokens, className="written")])


def _token(piece: str, probability: float, alternatives: Any, differs: bool) -> Element:
    rows = [
        html.Span([html.Span(token_shown(row.token_text), className="chip"), f" {100 * row.probability:.1f} %"])
        for row in alternatives.itertuples(index=False)
    ]
    said = ", ".join(
        f"{visible(row.token_text)} {100 * row.probability:.1f} %" for row in alternatives.itertuples(index=False)
    )
    breaks = [html.Br()] * piece.count("\n")
    return html.Span(
        [
            html.Span(token_shown(piece, follows=True), className="written-text"),
            html.Span(
                [html.Strong(f"{100 * probability:.1f} %"), *rows], className="alternatives", **aria(hidden="true")
            ),
            *breaks,
        ],
        className="written-token" + (" differs" if differs else ""),
        tabIndex="0",
        role="note",
        **aria(label=f"{visible(piece)}, {100 * probability:.1f} %; likeliest: {said}"),
    )


def register(app: Dash, ctx: Context) -> None:
    """The buttons start and stop the server's generation; a tick shows how far it is."""
    desk = Desk(ctx.shared)

    @app.callback(
        Output("generate-answer", "children"),
        Input("generate-run", "n_clicks"),
        State("url", "search"),
        State("prompt-text", "value"),
        State("generate-temperature", "value"),
        State("generate-top-p", "value"),
        State("generate-length", "value"),
        State("generate-seed", "value"),
        running=[
            (Output("generate-run", "loading"), True, False),
            (Output("generate-stop", "disabled"), False, True),
            (Output("generate-tick", "disabled"), False, True),
        ],
    )
    def generate(clicks: int, search: str, text: str | None, *values: Any) -> Any:
        if not clicks:
            return no_update
        try:
            if any(not isinstance(value, int | float) for value in values):
                raise BadInputError("a setting is empty; type a number in each field.")
            typed = read_query(search) | {"text": text or ""}
            names = ("temperature", "top_p", "length", "seed")
            settings = dict(zip(names, map(float, values), strict=True))
            written = desk.write(ctx, typed, settings)
        except WorkbenchError as error:
            return message("Nothing was generated", str(error), "error")
        plain = written[0][1]
        texts = [_written(name, one, plain if at else None) for at, (name, one) in enumerate(written)]
        kept = {name: f"{value:g}" for name, value in settings.items()}
        share = html.A("Link to this text", href=prompt_link(typed, generate=1, **kept), className=IN_PLACE)
        note = "Point at a token, or move to it with the Tab key, to see the likeliest tokens there."
        if len(texts) > 1:
            note += " Underlined is what the edit changed."
        return freeze([html.Div(texts, className="side-by-side"), html.P([note, " ", share, "."], className="note")])

    @app.callback(Input("generate-stop", "n_clicks"), prevent_initial_call=True)
    def stop(clicks: int) -> None:
        if clicks:
            desk.stop()

    @app.callback(
        Output("generate-progress", "children"),
        Input("generate-tick", "n_intervals"),
        Input("generate-answer", "children"),
        prevent_initial_call=True,
    )
    def tick(_ticks: int | None, _answer: Any) -> str:
        return desk.progress

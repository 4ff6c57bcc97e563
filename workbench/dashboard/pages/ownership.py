"""Whose model it is: fingerprints that a run's model carries, the experts they sit in, and what erasing them costs."""

from __future__ import annotations

from typing import Any

from ...errors import DamagedError, NotFoundError, kind_of
from ...studies.fingerprint import EraseResult, LocateResult, read_erased, read_located
from ..context import Context
from ..elements import html
from ..failures import message_or
from ..links import OWNERSHIP_PATH, Address
from ..ownership import panels
from ..ownership.published import Published, public_file, read_published
from ..page import Page
from ..parts import command, message

RESULTS = (LocateResult, EraseResult)


def layout(ctx: Context, address: Address) -> list[Any]:
    """The page; ``?units=neurons`` shows the curve of a dense model's neurons, where it was measured.

    Raises:
        NotFoundError: no such units were removed.
    """
    if not useful(ctx):
        line = html.Code(command("fingerprint", "embed", "MODEL", "CORPUS", "--out", "OUT"), className="command")
        text = ["The model of this run has no fingerprints. To teach a model some, run ", line, "."]
        return [html.H1("Ownership"), message("No fingerprints", html.Div(text))]
    public, shown = _published(ctx)
    return [
        html.H1(["Ownership", html.Small("Fingerprints: secret keys to which only this model answers")]),
        *shown,
        *message_or(_located, ctx, public),
        *message_or(_erased, ctx, public, address.query.get("units")),
        panels.verify(ctx, public),
    ]


def useful(ctx: Context) -> bool:
    """Whether the run's model is fingerprinted, or the run holds what locating or erasing found."""
    stored = (ctx.run.analysis_path(f"{result.kind}.json") for result in RESULTS)
    return public_file(ctx.run).is_file() or any(path.is_file() for path in stored)


def _published(ctx: Context) -> tuple[Published | None, list[Any]]:
    """What the model publishes, if it can be read, and what the page says of it."""
    try:
        public = read_published(ctx.run)
    except DamagedError as error:
        return None, [message(kind_of(error).heading, str(error), "error")]
    if public is not None:
        return public, [panels.embedded(ctx, public)]
    text = f"{public_file(ctx.run)} is missing, so what was embedded, and at what cost, is not known here."
    return None, [message("No public record", text, "warning")]


def _located(ctx: Context, public: Published | None) -> list[Any]:
    found = read_located(ctx.run)
    if found is None:
        return [message("Not located yet", "Which experts carry the fingerprints is not known; the command is below.")]
    return [*_other_commitment(public, found), *panels.located(ctx, found)]


def _erased(ctx: Context, public: Published | None, units: str | None) -> list[Any]:
    found = read_erased(ctx.run)
    if found is None:
        return [message("Not erased yet", "What erasing costs has not been measured; the command is below.")]
    asked = next(iter(found.total)) if units is None else units
    if asked not in found.total:
        raise NotFoundError(f"no {asked!r:.40} were removed; there are {', '.join(found.total)}.")
    return [*_other_commitment(public, found), panels.erased(found, asked)]


def _other_commitment(public: Published | None, found: LocateResult | EraseResult) -> list[Any]:
    """A warning where a result is of other fingerprints than the model publishes."""
    if public is None or public.commitment == found.commitment:
        return []
    text = (
        f"{found.command} was run with fingerprints that commit to {found.commitment[:12]}, and the model publishes "
        f"{public.commitment[:12]}: they are not the same."
    )
    return [message("Of other fingerprints", text, "warning")]


PAGE = Page("ownership", OWNERSHIP_PATH, "Ownership", layout, navigation="Ownership", useful=useful)

"""What the scripts of a map ask for: the cells of a group, the facts of an expert, and a region as CSV."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from dash import Dash
from flask import Response, jsonify, request

from ...errors import BadInputError, WorkbenchError, kind_of
from ...report.labels import shortened
from ...report.numbers import score_text
from ...store.address import Expert, read_expert
from ...store.token_text import visible_label
from .. import links
from ..cards import card
from ..lattice import packed
from ..parts import LONGEST_NAME
from .colourings import read_colouring, values
from .painting import cells, code_names, margin_title
from .regions import CELLS, PLANE, read_region, region_csv

if TYPE_CHECKING:
    from ..context import Context


def cells_answer(ctx: Context, group: int, colour: str) -> dict[str, Any]:
    """A group's cells for ``assets/atlas.js``.

    Returns:
        ``cells`` (of ``lattice.packed``), ``paint`` and ``rows`` and ``columns`` as ``Cells`` has them, the latter in
        four digits, ``margin`` (what they are), ``logarithmic`` (whether their bars are), and ``names`` of the codes,
        None where they are steps of a scale.

    Raises:
        NotFoundError: there is no such group or colouring.
    """
    colouring = read_colouring(ctx, colour)
    drawn = cells(ctx, group, colouring)
    names = [shortened(visible_label(label), LONGEST_NAME) for label in ctx.run.labels]
    return {
        "cells": packed(drawn.codes),
        "paint": drawn.paint,
        "names": code_names(ctx, names) if colouring.by_label else None,
        "rows": _short(drawn.rows),
        "columns": _short(drawn.columns),
        "margin": margin_title(ctx, colouring),
        "logarithmic": colouring.log,
    }


def _short(numbers: np.ndarray) -> list[float]:
    return [float(f"{number:.4g}") for number in numbers]


def expert_answer(ctx: Context, expert: Expert, colour: str) -> dict[str, Any]:
    """The card of an expert, with ``keys`` (i, j), ``confirmed``, and ``value``: its value in a colouring, as text.

    Raises:
        NotFoundError: there is no such colouring.
    """
    colouring = read_colouring(ctx, colour)
    table = ctx.experts(expert.group)
    active = expert.id in table.index
    told = card(ctx, expert) | {
        "keys": list(divmod(expert.id, ctx.run.num_keys)),
        "confirmed": active and bool(table["confirmed"].loc[expert.id]),
        "value": "",
    }
    if not active:
        return told | {"label": "never active"}
    if not colouring.by_label:
        value = float(values(ctx, expert.group, colouring).loc[expert.id])
        shown = "unknown" if np.isnan(value) else "∞" if np.isinf(value) else score_text(value)
        told["value"] = f"{colouring.title} {shown}"
    return told


def _region_answer(ctx: Context) -> Response:
    kind = next((kind for kind in (CELLS, PLANE) if kind in request.args), None)
    if kind is None:
        raise BadInputError("the address names no region; add cells=group:i-i,j-j, such as cells=0:10-20,30-40.")
    region = read_region(ctx, kind, request.args[kind])
    named = {"Content-Disposition": f"attachment; filename=experts-group-{region.group}.csv"}
    return Response(region_csv(ctx, region), mimetype="text/csv", headers=named)


def register(app: Dash, ctx: Context) -> None:
    """The addresses that answer."""

    def answered(make: Callable[[], Response]) -> Response:
        try:
            return make()
        except WorkbenchError as error:
            return Response(f"{error}\n", status=kind_of(error).status, mimetype="text/plain")

    @app.server.get(links.ATLAS_CELLS)
    def atlas_cells(group: str, colour: str) -> Response:
        def make() -> Response:
            if not group.isdecimal():
                raise BadInputError(f"{group!r} is no group; write its number.")
            return jsonify(cells_answer(ctx, int(group), colour))

        return answered(make)

    @app.server.get(links.ATLAS_EXPERT)
    def atlas_expert(group: str, expert: str) -> Response:
        def make() -> Response:
            read = read_expert(f"{group}:{expert}", ctx.run.groups, ctx.run.num_keys)
            return jsonify(expert_answer(ctx, read, request.args.get("colour", "label")))

        return answered(make)

    @app.server.get(links.REGION_FILE)
    def region_file() -> Response:
        return answered(lambda: _region_answer(ctx))

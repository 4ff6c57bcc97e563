"""Edits of experts: read from text, counted, kept under a name, and as the file that `ExpertEdit.load` reads."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from ..analysis.edited import file_edit, number_of_experts
from ..errors import BadInputError
from ..store.edit_text import PromptEdit
from .models import LONGEST, MOST_CHARACTERS, Answer, Body, EditText, Query, TextBody, reply, rows
from .reading import experts_of, read_edit, read_unedited, tokenise
from .source import Source

FILE = "application/octet-stream"
EditName = Field(min_length=1, max_length=LONGEST, description="name of the edit")


class EditBody(TextBody):
    """An edit, and the prompt that ``top:N`` in it speaks of."""

    edit: EditText = Field(min_length=1)
    text: str = Field("", max_length=MOST_CHARACTERS, description="the prompt, if the edit has top:N")


class EditAnswer(Answer):
    """An edit as it was read."""

    edit: str
    experts: int
    removed: int


class SavedEditsQuery(Query):
    """No fields."""


class SavedEditBody(Body):
    """An edit to keep, and under which name."""

    name: str = EditName
    edit: EditText = Field(min_length=1)


class SavedEditQuery(Query):
    """The saved edit that is meant."""

    name: str = EditName


class SavedEdit(Answer):
    """An edit that is kept; ``time`` is when it was saved, in UTC."""

    name: str
    edit: str
    time: datetime


class SavedEditsAnswer(Answer):
    """Every saved edit, by name."""

    edits: list[SavedEdit]


class EditSaved(Answer):
    """The name of an edit as it is kept."""

    name: str


def register(api: APIBlueprint, source: Source) -> None:
    """``POST /edits`` and its file, and ``/edits/saved``."""
    _register_reading(api, source)
    _register_saved(api, source)


def _register_reading(api: APIBlueprint, source: Source) -> None:
    def named(body: EditBody) -> tuple[PromptEdit, pd.DataFrame]:
        edit = read_edit(source, body.edit)
        if not edit:
            raise BadInputError("the edit is empty; name experts as group:id=factor, or label:NAME=factor.")
        reading = read_unedited(source, tokenise(source, body.text)) if edit.reads_prompt and body.text else None
        return edit, experts_of(source, edit, reading)

    @api.post("/edits", responses={200: EditAnswer})
    def read_one_edit(body: EditBody) -> Response:
        """An edit as it is read: how many experts it scales, and how many of them it removes."""
        edit, experts = named(body)
        removed = number_of_experts(experts[experts["factor"] == 0])
        return reply(EditAnswer(edit=str(edit), experts=number_of_experts(experts), removed=removed))

    @api.post("/edits/file", responses={200: {"content": {FILE: {"schema": {"type": "string", "format": "binary"}}}}})
    def write_edit_file(body: EditBody) -> Response:
        """An edit as a file tied to the run's model, which `ExpertEdit.load` reads."""
        made = file_edit(*named(body), source.model())
        with TemporaryDirectory() as folder:
            made.save(path := Path(folder) / "edit.safetensors")
            return Response(path.read_bytes(), mimetype=FILE)


def _register_saved(api: APIBlueprint, source: Source) -> None:
    @api.get("/edits/saved", responses={200: SavedEditsAnswer})
    def list_saved_edits(query: SavedEditsQuery) -> Response:
        """Every edit that is kept beside the run, by name."""
        return reply(SavedEditsAnswer(edits=[SavedEdit(**row) for row in rows(source.notes.edits())]))

    @api.post("/edits/saved", responses={201: EditSaved})
    def save_edit(body: SavedEditBody) -> Response:
        """Keep an edit under a name that is not taken."""
        return reply(EditSaved(name=source.notes.save_edit(body.name, body.edit)), 201)

    @api.delete("/edits/saved", responses={204: None})
    def delete_saved_edit(query: SavedEditQuery) -> Response:
        """Forget a saved edit."""
        source.notes.delete_edit(query.name)
        return Response(status=204)

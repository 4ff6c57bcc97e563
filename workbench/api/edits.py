"""Edits of experts: read from text, counted, and as the file that `ExpertEdit.load` reads."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from ..analysis.edited import file_edit, number_of_experts
from ..errors import BadInputError
from ..store.edit_text import PromptEdit
from .models import MOST_CHARACTERS, Answer, EditText, TextBody, reply
from .reading import experts_of, read_edit, read_unedited, tokenise
from .source import Source

FILE = "application/octet-stream"


class EditBody(TextBody):
    """An edit, and the prompt that ``top:N`` in it speaks of."""

    edit: EditText = Field(min_length=1)
    text: str = Field("", max_length=MOST_CHARACTERS, description="the prompt, if the edit has top:N")


class EditAnswer(Answer):
    """An edit as it was read."""

    edit: str
    experts: int
    removed: int


def register(api: APIBlueprint, source: Source) -> None:
    """``POST /edits`` and its file."""

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

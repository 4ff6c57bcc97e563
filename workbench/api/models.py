"""What requests and answers are made of: the bases of their models, and fields that several have."""

from __future__ import annotations

from typing import Annotated, Any, Self

import pandas as pd
from flask import Response
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

MOST_ROWS = 1000  # of one answer
MOST_CHARACTERS = 16_000  # of a prompt and its edit together, on pages too: an address holds both
LONGEST = 10_000  # of a name or a note; what keeps them has limits of its own
LARGEST = 2**53  # beyond which numbers of JSON are not exact

Count = Annotated[int, Field(ge=0, le=LARGEST)]
Limit = Annotated[int, Field(ge=1, le=MOST_ROWS)]
Group = Annotated[int, Field(ge=0, le=LARGEST, description="number of the layer group")]
ExpertId = Annotated[int, Field(ge=0, le=LARGEST, description="flat id of the expert, i * E + j")]
Text = Annotated[str, Field(min_length=1, max_length=MOST_CHARACTERS)]
Bound = Annotated[float, Field(allow_inf_nan=False)] | SkipJsonSchema[None]
Name = str | SkipJsonSchema[None]
Number = float | None  # None where it does not exist: JSON has no NaN
EditText = Annotated[
    str, Field(max_length=MOST_CHARACTERS, description="such as 0:17=0, label:lua=0.5, top:10=2; empty for none")
]


def _say_no_null(schema: dict[str, Any]) -> None:
    """Leave out the defaults of fields that may be left out: null cannot be sent for them."""
    for field in schema.get("properties", {}).values():
        if field.get("default", "") is None:
            del field["default"]


class Query(BaseModel):
    """The fields of an address; others are refused."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_say_no_null)


class Body(BaseModel):
    """A request's JSON; other fields, and fields of another type, are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_say_no_null)


class TextBody(Body):
    """A prompt, and the edit under which the model reads it."""

    text: Text
    edit: EditText = ""

    @model_validator(mode="after")
    def _together(self) -> Self:
        if (characters := len(self.text) + len(self.edit)) > MOST_CHARACTERS:
            told = f"text and edit together have {characters:,} characters; the limit is {MOST_CHARACTERS:,}"
            raise PydanticCustomError("too_long", "{told}", {"told": told})
        return self


class TargetBody(TextBody):
    """A prompt, and the next token that is explained."""

    target: Name = Field(None, description="text of the token, or # and its id; by default the likeliest one")
    minus: Name = Field(None, description="another token, whose logit is subtracted")
    position: Count | SkipJsonSchema[None] = Field(
        None, description="index in tokens of the one after which the target comes; by default the last one"
    )


class Answer(BaseModel):
    """An answer's JSON."""

    model_config = ConfigDict(extra="forbid")


class Page(Query):
    """Which rows of a long answer are returned."""

    offset: Count = Field(0, description="rows to skip")
    limit: Limit = Field(50, description="rows to return, at most")


class ExpertPath(Query):
    """The expert that an address names."""

    group: Group
    expert: ExpertId


class Place(Answer):
    """An expert."""

    group: int
    expert: int


def rows(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows of a table; a time that is missing is None."""
    return table.astype(object).where(table.notna(), None).to_dict("records")


def reply(answer: Answer, status: int = 200) -> Response:
    """The response that holds an answer; numbers that are not finite are null."""
    return Response(answer.model_dump_json(), status, mimetype="application/json")

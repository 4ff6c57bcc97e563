"""What people keep: notes and tags of experts, and lists of experts."""

from __future__ import annotations

from datetime import datetime

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from ..errors import BadInputError
from ..store.address import Expert
from .models import LARGEST, LONGEST, Answer, Body, ExpertId, Group, Limit, Place, Query, reply, rows
from .source import Source

ListName = Field(min_length=1, max_length=LONGEST, description="name of the list")
TagText = Field(min_length=1, max_length=LONGEST, description="the tag")


class NotesQuery(Query):
    """The expert whose notes are asked for; without one, the last notes about any."""

    group: Group | SkipJsonSchema[None] = None
    expert: ExpertId | SkipJsonSchema[None] = None
    limit: Limit = Field(50, description="notes to return, at most")


class NoteBody(Body):
    """A new note."""

    group: Group
    expert: ExpertId
    text: str = Field(min_length=1, max_length=LONGEST)
    author: str = Field("", max_length=LONGEST)


class NotePath(Query):
    """The note that an address names."""

    note: int = Field(ge=0, le=LARGEST, description="id of the note")


class NoteChange(Body):
    """A note's new text, and the one that it replaces."""

    text: str = Field(min_length=1, max_length=LONGEST)
    known: str = Field(max_length=LONGEST, description="the text that it replaces; refused if it was changed since")


class NoteChanged(Answer):
    """The text of a note as it is kept."""

    text: str


class Note(Answer):
    """A note about an expert; ``time`` is in UTC."""

    id: int
    group: int
    expert: int
    text: str
    author: str
    time: datetime


class NotesAnswer(Answer):
    """Notes: of an expert oldest first, of any newest first."""

    notes: list[Note]


class Made(Answer):
    """The id of what was made."""

    id: int


class TagsQuery(Query):
    """The tag whose experts are asked for; without one, all tags are counted."""

    tag: str | SkipJsonSchema[None] = Field(None, max_length=LONGEST)


class TagBody(Body):
    """A tag of an expert."""

    group: Group
    expert: ExpertId
    tag: str = TagText


class TagQuery(Query):
    """A tag of an expert."""

    group: Group
    expert: ExpertId
    tag: str = TagText


class TagCount(Answer):
    """A tag, and how many experts have it."""

    tag: str
    experts: int


class TagsAnswer(Answer):
    """The tags in use; or the one asked for, with its experts."""

    tags: list[TagCount]
    experts: list[Place]


class ListQuery(Query):
    """The list that is meant."""

    name: str = ListName


class ListsQuery(Query):
    """No fields."""


class ListBody(Body):
    """A new list."""

    name: str = ListName
    description: str = Field("", max_length=LONGEST)
    experts: list[Place] = Field([], max_length=1000)


class ListChange(Body):
    """A list's new description, and the one that it replaces."""

    name: str = ListName
    description: str = Field(max_length=LONGEST, description="empty for none")
    known: str = Field(max_length=LONGEST, description="the one that it replaces; refused if it was changed since")


class ListChanged(Answer):
    """The description of a list as it is kept."""

    description: str


class ItemBody(Body):
    """An expert that a list is to have."""

    name: str = ListName
    group: Group
    expert: ExpertId


class ItemQuery(Query):
    """An expert of a list."""

    name: str = ListName
    group: Group
    expert: ExpertId


class ListRow(Answer):
    """A list; ``time`` is when it was made, in UTC, null for the bookmarks."""

    name: str
    description: str
    experts: int
    time: datetime | None


class ListsAnswer(Answer):
    """Every list: the bookmarks first, then by name."""

    lists: list[ListRow]


class ListMade(Answer):
    """The name of the list as it is kept."""

    name: str


class ListItem(Answer):
    """An expert of a list, with what is kept about it."""

    group: int
    expert: int
    tags: list[str]
    notes: list[str]


class ListAnswer(Answer):
    """A list in its order."""

    name: str
    description: str
    experts: list[ListItem]


def register(api: APIBlueprint, source: Source) -> None:
    """``/notes``, ``/tags`` and ``/lists``."""
    _register_notes(api, source)
    _register_tags(api, source)
    _register_lists(api, source)


def _register_notes(api: APIBlueprint, source: Source) -> None:
    @api.get("/notes", responses={200: NotesAnswer})
    def list_notes(query: NotesQuery) -> Response:
        """The notes about an expert, oldest first; without one, the last notes about any, newest first."""
        if query.group is None and query.expert is None:
            return reply(NotesAnswer(notes=[Note(**row) for row in rows(source.notes.recent_notes(query.limit))]))
        if query.group is None or query.expert is None:
            raise BadInputError("an expert has a group and an id; give both, or neither.")
        found = source.notes.notes_of(query.group, query.expert).head(query.limit)
        return reply(NotesAnswer(notes=[Note(**row) for row in rows(found)]))

    @api.post("/notes", responses={201: Made})
    def add_note(body: NoteBody) -> Response:
        """Keep a note about an expert."""
        return reply(Made(id=source.notes.add_note(body.group, body.expert, body.text, body.author)), 201)

    @api.patch("/notes/<note>", responses={200: NoteChanged})
    def change_note(path: NotePath, body: NoteChange) -> Response:
        """Write a note anew; its author stays, its time is that of the change."""
        return reply(NoteChanged(text=source.notes.change_note(path.note, body.text, body.known)))

    @api.delete("/notes/<note>", responses={204: None})
    def delete_note(path: NotePath) -> Response:
        """Forget a note."""
        source.notes.delete_note(path.note)
        return Response(status=204)


def _register_tags(api: APIBlueprint, source: Source) -> None:
    @api.get("/tags", responses={200: TagsAnswer})
    def list_tags(query: TagsQuery) -> Response:
        """The tags in use and how many experts have each; with a tag, the experts that have it."""
        known = source.notes.all_tags()
        chosen = known if query.tag is None else known[known["tag"] == query.tag]
        experts = [] if query.tag is None else source.notes.tagged(query.tag)
        return reply(
            TagsAnswer(
                tags=[TagCount(**row) for row in rows(chosen)],
                experts=[Place(group=of.group, expert=of.id) for of in experts],
            )
        )

    @api.post("/tags", responses={204: None})
    def add_tag(body: TagBody) -> Response:
        """Give an expert a tag; one that it has stays."""
        source.notes.tag(body.group, body.expert, body.tag)
        return Response(status=204)

    @api.delete("/tags", responses={204: None})
    def remove_tag(query: TagQuery) -> Response:
        """Take a tag from an expert, if it has it."""
        source.notes.untag(query.group, query.expert, query.tag)
        return Response(status=204)


def _register_lists(api: APIBlueprint, source: Source) -> None:
    @api.get("/lists", responses={200: ListsAnswer})
    def list_lists(query: ListsQuery) -> Response:
        """Every list of experts, and how many are in it."""
        return reply(ListsAnswer(lists=[ListRow(**row) for row in rows(source.notes.lists())]))

    @api.post("/lists", responses={201: ListMade})
    def add_list(body: ListBody) -> Response:
        """Make a list, of some experts if given."""
        experts = [Expert(of.group, of.expert) for of in body.experts]
        return reply(ListMade(name=source.notes.create_list(body.name, body.description, experts)), 201)

    @api.patch("/lists", responses={200: ListChanged})
    def describe_list(body: ListChange) -> Response:
        """Give a list another description, or none."""
        return reply(ListChanged(description=source.notes.describe(body.name, body.description, body.known)))

    @api.delete("/lists", responses={204: None})
    def delete_list(query: ListQuery) -> Response:
        """Forget a list; notes and tags of its experts stay."""
        source.notes.delete_list(query.name)
        return Response(status=204)

    @api.get("/lists/experts", responses={200: ListAnswer})
    def get_list(query: ListQuery) -> Response:
        """The experts of a list in its order, with their tags and notes."""
        items = source.notes.list_items(query.name)
        experts = [ListItem(**row) for row in rows(items)]
        return reply(ListAnswer(name=query.name, description=source.notes.description(query.name), experts=experts))

    @api.post("/lists/experts", responses={204: None})
    def add_to_list(body: ItemBody) -> Response:
        """Put an expert at the end of a list; one that is in it stays where it is."""
        source.notes.add_to_list(body.name, body.group, body.expert)
        return Response(status=204)

    @api.delete("/lists/experts", responses={204: None})
    def remove_from_list(query: ItemQuery) -> Response:
        """Take an expert from a list, if it is in it."""
        source.notes.remove_from_list(query.name, query.group, query.expert)
        return Response(status=204)

"""The run."""

from __future__ import annotations

from typing import Any

from flask import Response
from flask_openapi3.blueprint import APIBlueprint
from pydantic import Field

from .models import Answer, reply
from .source import Source


class TranscodedAnswer(Answer):
    """How well a transcoded model stands for its teacher, on held-out text."""

    teacher: str
    layers: list[int] = Field(description="whose MLPs were transcoded into experts")
    rise: float = Field(description="loss above the teacher's, in nats per token")
    recovered: float = Field(description="share of cross-entropy recovered")
    edited: bool = Field(False, description="whether experts were edited since; the figures are of the model before")


class RunAnswer(Answer):
    """What a run holds."""

    name: str
    groups: list[int]
    group_layers: list[int]
    layers: list[list[int]] = Field(description="of each group")
    keys: int
    heads: int
    experts: int
    labels: dict[str, int]
    documents: int
    tokens: int
    context_length: int
    settings: dict[str, Any]
    analysed: bool
    analyses: list[str]
    transcoded: TranscodedAnswer | None = Field(description="null where the model was not transcoded")


def register(api: APIBlueprint, source: Source) -> None:
    """``GET /run``."""

    @api.get("/run", responses={200: RunAnswer})
    def get_run() -> Response:
        """The run: its groups, keys, labels with their tokens, settings of the export, files of analyses."""
        run = source.run
        folder = run.analysis_path("")
        return reply(
            RunAnswer(
                name=source.name,
                groups=run.groups,
                group_layers=run.group_layers,
                layers=[run.layers_of(group) for group in run.groups],
                keys=run.num_keys,
                heads=run.heads,
                experts=run.num_keys**2,
                labels={label: int(tokens) for label, tokens in run.label_tokens.items()},
                documents=len(run.documents),
                tokens=run.tokens_total,
                context_length=source.context_length,
                settings=run.manifest["settings"],
                analysed=source.analysed,
                analyses=sorted(path.name for path in folder.iterdir()) if folder.is_dir() else [],
                transcoded=None if run.transcoded is None else TranscodedAnswer(**run.transcoded.to_entry()),
            )
        )

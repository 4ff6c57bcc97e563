"""Commands that explain single experts and find explanations."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from ..errors import WorkbenchError
from .output import Json, RunArgument, out_console, print_json, print_table

if TYPE_CHECKING:
    from ..explain import Endpoint, Explainer, Explanations
    from ..store import Run


def explain(
    run: RunArgument,
    expert: Annotated[list[str] | None, typer.Option(help="an expert, GROUP:ID; may be given again")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="the experts that tell most of the label, N of them")] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="N experts at random")] = None,
    by_itself: Annotated[bool, typer.Option("--self", help="ask the run's own model (paper, 4.3)")] = False,
    endpoint: Annotated[str | None, typer.Option(help="base URL that speaks OpenAI's chat completions")] = None,
    endpoint_model: Annotated[str | None, typer.Option(help="the model to ask there")] = None,
    write: Annotated[str | None, typer.Option(help="your own explanation of the expert")] = None,
    author: Annotated[str | None, typer.Option(help="your name")] = None,
    score: Annotated[bool, typer.Option(help="score by detection and fuzzing")] = True,
    as_json: Json = False,
) -> None:
    """Explain experts in a sentence each, score the sentences on other documents, and keep them in the run.

    The sentence is a template's, made from the data, unless --self, --endpoint or --write says otherwise. An endpoint
    also scores; else a sentence encoder does. The endpoint's key is read from MONET_ENDPOINT_KEY.
    """
    from .. import open_run
    from ..explain import EncoderJudge, EndpointJudge, explain_experts
    from ..export import load_model

    if sum([by_itself, endpoint is not None, write is not None]) > 1:
        raise WorkbenchError("give at most one of --self, --endpoint and --write.")
    server = _endpoint(endpoint, endpoint_model)
    opened = open_run(run)
    experts = _chosen(opened, expert, top, sample)
    if write is not None and len(experts) > 1:
        raise WorkbenchError("--write explains one expert; give one --expert.")
    model = load_model(opened.model_path) if write is None else None
    judge: Any = None
    if score and server is not None:
        judge = EndpointJudge(server)
    elif score:
        from ..analysis import load_encoder

        judge = EncoderJudge(load_encoder())
    explainer = _explainer(opened, model, by_itself, server, write, author)
    found = explain_experts(opened, experts, explainer, judge=judge, model=model, progress=True)
    if as_json:
        print_json(found.to_json())
    else:
        _print(found)


def _endpoint(url: str | None, model: str | None) -> Endpoint | None:
    from ..explain import Endpoint
    from ..explain.endpoint import KEY_VARIABLE

    if (url is None) != (model is None):
        raise WorkbenchError("--endpoint and --endpoint-model go together.")
    if url is None or model is None:
        return None
    return Endpoint(url, model, os.environ.get(KEY_VARIABLE) or None)


def _chosen(run: Run, expert: list[str] | None, top: int | None, sample: int | None) -> list[tuple[int, int]]:
    from ..explain import random_experts, top_experts
    from ..store.address import read_expert

    if sum(choice is not None for choice in (expert or None, top, sample)) != 1:
        raise WorkbenchError("say which experts: --expert GROUP:ID, --top N or --sample N.")
    if top is not None:
        return top_experts(run, top)
    if sample is not None:
        return random_experts(run, sample)
    return [read_expert(text, run.groups, run.num_keys) for text in expert or []]


def _explainer(
    run: Run, model: Any, by_itself: bool, server: Endpoint | None, write: str | None, author: str | None
) -> Explainer:
    from ..explain import EndpointExplainer, Person, SelfExplainer, Template

    if write is not None:
        if not write.strip() or not (author or "").strip():
            raise WorkbenchError("--write takes a text, and --author who wrote it.")
        return Person(str(author).strip(), write)
    if server is not None:
        return EndpointExplainer(server)
    if by_itself:
        tokenizer = run.tokenizer()
        if tokenizer is None:
            raise WorkbenchError(f"{run.path} has no tokenizer, so its model cannot be asked anything.")
        return SelfExplainer(model, tokenizer, Path(run.model_path).name)
    return Template()


def _print(found: Explanations) -> None:
    head = ["expert", "explanation", "detection", "control", "fuzzing", "control", "passages"]
    rows = [
        [
            f"{row['group']}:{row['expert']}",
            escape(row["text"]),
            *(_figure(row[name]) for name in ("detection", "detection:control", "fuzzing", "fuzzing:control")),
            f"{row['active']}+{row['silent']}",
        ]
        for row in found.table.to_dict("records")
    ]
    print_table("Explanations", head, rows)
    for task, mean in found.means().items():
        out_console.print(
            f"{task}: balanced accuracy {mean['accuracy']:.3f} on the mean of {mean['experts']} experts, "
            f"{mean['control']:.3f} with another expert's explanation; "
            f"difference {mean['difference']:+.3f} ({mean['low']:+.3f} to {mean['high']:+.3f})"
        )


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def search(
    run: RunArgument,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="a word, or a sentence")],
    top: Annotated[int, typer.Option(min=1, help="explanations shown")] = 20,
    as_json: Json = False,
) -> None:
    """Find experts by their explanations: by the text, and where the sentence encoder is installed by meaning."""
    from .. import open_run
    from ..analysis import load_encoder
    from ..analysis.encoder import encoder_folder
    from ..explain import search_explanations

    encoder = load_encoder() if encoder_folder() is not None else None
    found = search_explanations(open_run(run), query, top, encoder)
    if as_json:
        print_json(found.astype(object).where(found.notna(), None).to_dict("records"))
        return
    rows = [
        [f"{row['group']}:{row['expert']}", escape(row["text"]), escape(row["author"]), _figure(row["similarity"])]
        for row in found.to_dict("records")
    ]
    print_table("Explanations found", ["expert", "explanation", "author", "similarity"], rows)

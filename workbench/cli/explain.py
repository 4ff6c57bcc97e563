"""The commands `monet explain` and `monet search`: explanations of single experts."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ..errors import BadInputError
from .output import Device, Dtype, Json, RunArgument, out_console, print_json

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ..explain import Endpoint, Explainer, Explanations, Judge
    from ..store import Run
    from ..store.address import Expert


def explain(
    run: RunArgument,
    expert: Annotated[list[str] | None, typer.Option(help="an expert, GROUP:ID; repeat it for several")] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="the N experts that carry the most information about the label")
    ] = None,
    sample: Annotated[int | None, typer.Option(min=1, help="N random experts")] = None,
    by_itself: Annotated[bool, typer.Option("--self", help="ask the run's own model (paper, section 4.3)")] = False,
    rules: Annotated[
        bool, typer.Option("--rules", help="learn a rule for each expert; by default for all readable ones")
    ] = False,
    endpoint: Annotated[str | None, typer.Option(help="base URL of an OpenAI-compatible API")] = None,
    endpoint_model: Annotated[str | None, typer.Option(help="name of the model to ask there")] = None,
    write: Annotated[str | None, typer.Option(help="your own explanation of the expert")] = None,
    author: Annotated[str | None, typer.Option(help="your name, with --write")] = None,
    score: Annotated[bool, typer.Option(help="score explanations by detection and fuzzing")] = True,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Explain experts in one sentence each, score the sentences on other documents, and store both in the run.

    A template fills in the sentence from the data, unless --rules, --self, --endpoint or --write is given. Rules are
    learned, and measured on every token of the other documents, without a model or an encoder. Other scores come from
    the endpoint or else from a sentence encoder. MONET_ENDPOINT_KEY holds the endpoint's key.
    """
    from .. import open_run
    from ..checkpoint import load_model
    from ..explain import EndpointJudge, explain_by_rules, explain_experts

    if sum([rules, by_itself, endpoint is not None, write is not None]) > 1:
        raise BadInputError("give at most one of --rules, --self, --endpoint and --write.")
    if rules:
        opened = open_run(run)
        every = not expert and top is None and sample is None
        explained = explain_by_rules(opened, None if every else _chosen(opened, expert, top, sample), progress=True)
        if every and not as_json:
            _print_rules(explained)
        else:
            _show(explained, as_json)
        return
    server = _endpoint(endpoint, endpoint_model)
    opened = open_run(run)
    experts = _chosen(opened, expert, top, sample)
    if write is not None and len(experts) > 1:
        raise BadInputError("--write explains one expert; give one --expert.")
    model = load_model(opened.model_path, device=device, dtype=dtype) if write is None else None
    judge: Judge | None = None
    if score:
        judge = _encoder_judge() if server is None else EndpointJudge(server)
    explainer = _explainer(opened, model, by_itself, server, write, author)
    explained = explain_experts(opened, experts, explainer, judge=judge, model=model, progress=True)
    _show(explained, as_json)


def _show(explained: Explanations, as_json: bool) -> None:
    if as_json:
        print_json(explained.to_json())
    else:
        _print(explained)


def _encoder_judge() -> Judge:
    from ..analysis import load_encoder
    from ..explain import EncoderJudge

    return EncoderJudge(load_encoder())


def _endpoint(url: str | None, model: str | None) -> Endpoint | None:
    from ..explain import Endpoint
    from ..explain.endpoint import KEY_VARIABLE

    if (url is None) != (model is None):
        raise BadInputError("--endpoint and --endpoint-model go together: give both.")
    if url is None or model is None:
        return None
    return Endpoint(url, model, os.environ.get(KEY_VARIABLE) or None)


def _chosen(run: Run, expert: list[str] | None, top: int | None, sample: int | None) -> list[Expert]:
    from ..explain import most_informative_experts, sample_experts
    from ..store.address import read_expert

    if sum(choice is not None for choice in (expert or None, top, sample)) != 1:
        raise BadInputError("say which experts to explain: --expert GROUP:ID, --top N or --sample N.")
    if top is not None:
        return most_informative_experts(run, top)
    if sample is not None:
        return sample_experts(run, sample)
    return [read_expert(text, run.groups, run.num_keys) for text in expert or []]


def _explainer(
    run: Run,
    model: MonetForCausalLM | None,
    by_itself: bool,
    server: Endpoint | None,
    write: str | None,
    author: str | None,
) -> Explainer:
    from ..analysis.run_model import run_tokenizer
    from ..explain import EndpointExplainer, Person, SelfExplainer, Template

    if write is not None:
        if not write.strip() or not (author or "").strip():
            raise BadInputError("--write takes a text, and --author who wrote it.")
        return Person(str(author).strip(), write)
    if server is not None:
        return EndpointExplainer(server)
    if by_itself and model is not None:
        return SelfExplainer(model, run_tokenizer(run), Path(run.model_path).name)
    return Template()


def _print(explained: Explanations) -> None:
    for row in explained.table.to_dict("records"):
        scores = [
            f"{task} {_figure(row[task])} (control {_figure(row[f'{task}:control'])})"
            for task in ("detection", "fuzzing")
        ]
        passages = f"{row['active']} active + {row['negatives']} negative passages"
        judged = [*scores, passages] if row["judge"] else []
        if not math.isnan(row["average_precision"]):
            alone = f"token alone {_figure(row['average_precision:token'])}"
            judged = [f"average precision {_figure(row['average_precision'])} ({alone})", *judged]
        out_console.print("  ".join([f"[bold]{row['group']}:{row['expert']}[/bold]", *judged]))
        out_console.print(f"  {escape(row['text'])}")
    for task, mean in explained.means().items():
        out_console.print(
            f"{task}: mean balanced accuracy {mean['accuracy']:.3f} over {mean['experts']} experts, "
            f"{mean['control']:.3f} with another expert's explanation; "
            f"difference {mean['difference']:+.3f} (95 % CI {mean['low']:+.3f} to {mean['high']:+.3f})"
        )
    _print_rules(explained)


def _print_rules(explained: Explanations) -> None:
    """Medians of rules by group; nothing for explanations of other kinds."""
    from ..explain import rule_summary

    for group in rule_summary(explained.table):
        out_console.print(
            f"group {group['group']}: {group['measured']} of {group['experts']} rules measured; context matters for "
            f"{group['context']}; medians"
        )
        for name, (median, low, high) in group["medians"].items():
            out_console.print(f"  {name} {median:.3f} (95 % CI {low:.3f} to {high:.3f})")


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def search(
    run: RunArgument,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="a word or a sentence")],
    top: Annotated[int, typer.Option(min=1, help="number of explanations shown")] = 20,
    as_json: Json = False,
) -> None:
    """Search explanations for a text and, where the sentence encoder is installed, for similar meaning."""
    from .. import open_run
    from ..analysis import load_encoder
    from ..analysis.encoder import encoder_folder
    from ..explain import search_explanations

    encoder = load_encoder() if encoder_folder() is not None else None
    matches = search_explanations(open_run(run), query, top, encoder)
    if as_json:
        print_json(matches.astype(object).where(matches.notna(), None).to_dict("records"))
        return
    for row in matches.to_dict("records"):
        similarity = "" if math.isnan(row["similarity"]) else f"  similarity {row['similarity']:.2f}"
        out_console.print(f"[bold]{row['group']}:{row['expert']}[/bold]  by {escape(row['author'])}{similarity}")
        out_console.print(f"  {escape(row['text'])}")
    if matches.empty:
        out_console.print("No explanation matches.")

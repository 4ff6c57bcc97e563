"""Commands that evaluate a model on tasks, as it is or without some experts."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInputError, UnsupportedError
from .output import Device, Dtype, Json, ModelArgument, out_console, print_json, print_table

if TYPE_CHECKING:
    import pandas as pd

    from monet_model import ExpertEdit, MonetForCausalLM

    from ..evaluation import AccuracyMask

EditFile = Annotated[Path | None, typer.Option("--edit", help="file of an ExpertEdit that is in force meanwhile")]
Without = Annotated[
    str | None, typer.Option("--without", help="ablate the experts specialised in this label of --run meanwhile")
]
RunOption = Annotated[str | None, typer.Option("--run", help="run of this model whose labels --without names")]
TaskNames = Annotated[
    list[str] | None,
    typer.Option(
        "--tasks", help="tasks, groups or tags of the harness, or mmlu_domains; several with commas or repeated"
    ),
]
TaskLimit = Annotated[int | None, typer.Option("--limit", help="documents of each task. Default: all")]
Include = Annotated[
    Path | None, typer.Option("--include", help="folder with tasks of your own: YAML files in the harness' format")
]
Fewshot = Annotated[
    int | None, typer.Option("--num-fewshot", help="examples in each prompt. Default: what a task says")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="requests answered in one forward pass")]
Out = Annotated[Path | None, typer.Option("--out", help="also write the result to this JSON file")]


def evaluate(
    model: ModelArgument,
    tasks: TaskNames = None,
    edit: EditFile = None,
    without: Without = None,
    run: RunOption = None,
    limit: TaskLimit = None,
    include: Include = None,
    num_fewshot: Fewshot = None,
    batch_size: BatchSize = 1,
    out: Out = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Evaluate a model on tasks of the LM Evaluation Harness, as it is or without some experts (extra `eval`)."""
    from ..checkpoint import load_model
    from ..evaluation import evaluate_model

    names = task_names(tasks)
    _check_out(out)
    loaded = load_model(model, device=device, dtype=dtype)
    result = evaluate_model(
        loaded,
        _tokenizer(model),
        names,
        edit=_edit(loaded, edit, without, run),
        limit=limit,
        include=include,
        num_fewshot=num_fewshot,
        batch_size=batch_size,
        progress=True,
    )
    found = result.to_json()
    _write(out, found)
    if as_json:
        print_json(found)
        return
    _tell_edit(result.settings["edited_experts"])
    _print_metrics(f"{model} on {', '.join(names)}", result.table)


def evaluate_code(
    model: ModelArgument,
    problems: Annotated[Path, typer.Argument(help="JSON-lines file of problems of HumanEval or MultiPL-E")],
    execute: Annotated[
        bool,
        typer.Option(
            "--execute-generated-code",
            help="required: programs that the model writes are executed on this machine, as you, with limits",
        ),
    ] = False,
    samples: Annotated[int, typer.Option(min=1, help="completions of each problem, at least the largest k")] = 20,
    k: Annotated[
        list[int] | None, typer.Option("--k", help="draws of pass@k; may be repeated. Default: 1 and 10")
    ] = None,
    temperature: Annotated[float, typer.Option(help="of sampling, above 0")] = 0.8,
    top_p: Annotated[float, typer.Option(help="draw from the likeliest tokens with this probability together")] = 0.95,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="tokens of a completion")] = 256,
    seed: Annotated[int, typer.Option(min=0, help="of the samples")] = 0,
    edit: EditFile = None,
    without: Without = None,
    run: RunOption = None,
    out: Out = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    as_json: Json = False,
) -> None:
    """Let a model complete programs, run them with their tests, and estimate pass@k (paper, Table 3)."""
    from ..checkpoint import load_model
    from ..evaluation import evaluate_code, read_problems

    _check_out(out)
    read = read_problems(problems)
    loaded = load_model(model, device=device, dtype=dtype)
    result = evaluate_code(
        loaded,
        _tokenizer(model),
        read,
        execute=execute,
        edit=_edit(loaded, edit, without, run),
        samples=samples,
        k=k or [1, 10],
        temperature=temperature,
        top_p=top_p,
        max_new_tokens=max_new_tokens,
        seed=seed,
        progress=True,
    )
    found = result.to_json()
    _write(out, found)
    if as_json:
        print_json(found)
        return
    _tell_edit(result.settings["edited_experts"])
    _print_metrics(f"{model} on {problems}", result.table)
    counts = result.completions["outcome"].value_counts()
    out_console.print(
        f"Of {len(result.completions):,} programs: {', '.join(f'{n:,} {name}' for name, n in counts.items())}."
    )
    if not result.isolated:
        out_console.print("The programs could reach the network: this system gives them no namespaces of their own.")


def print_accuracy_mask(result: AccuracyMask) -> None:
    """Accuracies by domain, then their changes and the means over labels."""
    rows = [
        ["none", "", *(f"{value:.1%}" for value in result.baseline)],
        *(
            [label, f"{removed:,}", *(f"{value:.1%}" for value in line)]
            for label, removed, line in zip(result.labels, result.removed, result.accuracy, strict=True)
        ),
    ]
    print_table("Accuracy", ["label ablated", "experts", *result.domains], rows)
    rows = [
        [label, *(f"{100 * value:+.1f}" for value in line)]
        for label, line in zip(result.labels, result.matrix, strict=True)
    ]
    print_table("Change in accuracy, percentage points", ["label ablated", *result.domains], rows)
    questions = ", ".join(
        f"{domain} {number:,}" for domain, number in zip(result.domains, result.documents, strict=True)
    )
    out_console.print(f"Questions: {questions}", markup=False, highlight=False)
    if isnan(result.delta_target):
        out_console.print("No domain has the name of a label, so there is no mean change on the target.")
        return
    out_console.print(f"Delta target {100 * result.delta_target:+.2f} percentage points")
    out_console.print(f"Delta others {100 * result.delta_others:+.2f} percentage points")


def task_names(tasks: list[str] | None) -> list[str]:
    """The names in an option that may be repeated, and hold several with commas.

    Raises:
        BadInputError: there are none.
    """
    names = [name.strip() for value in tasks or [] for name in value.split(",") if name.strip()]
    if not names:
        raise BadInputError("name the tasks, such as --tasks hellaswag,arc_easy.")
    return names


def _edit(model: MonetForCausalLM, file: Path | None, without: str | None, run: str | None) -> ExpertEdit | None:
    """The edit that the options name; None for none.

    Raises:
        BadInputError: they contradict each other, or the file holds no edit.
    """
    if file is not None and without is not None:
        raise BadInputError("give either --edit or --without, not both.")
    if (without is None) != (run is None):
        raise BadInputError("--without names a label of a run, so it needs --run RUN, and --run needs --without LABEL.")
    if file is not None:
        from monet_model import ExpertEdit

        try:
            return ExpertEdit.load(file)
        except ValueError as error:
            raise BadInputError(str(error)) from error
    if without is not None and run is not None:
        from .. import open_run
        from ..analysis import label_edit

        return label_edit(open_run(run), model, without)
    return None


def _tokenizer(model: str) -> Any:
    from ..checkpoint import model_folder
    from ..store.token_text import load_tokenizer

    folder = model_folder(model)
    tokenizer = load_tokenizer(folder)
    if tokenizer is None:
        raise UnsupportedError(f"{folder} has no tokenizer.json, and tasks are texts.")
    return tokenizer


def _check_out(out: Path | None) -> None:
    if out is not None and out.is_dir():
        raise BadInputError(f"{out} is a folder; name a file to write.")


def _write(out: Path | None, found: dict[str, Any]) -> None:
    from ..store.files import write_json

    if out is not None:
        write_json(out, found)


def _tell_edit(experts: int) -> None:
    if experts:
        out_console.print(f"With the factors of {experts:,} experts changed:")


def _print_metrics(title: str, table: pd.DataFrame) -> None:
    rows = [
        [row.task, row.metric, row.filter, f"{row.value:.4f}", "–" if isnan(row.stderr) else f"{row.stderr:.4f}"]
        + [f"{row.documents:,}"]
        for row in table.itertuples(index=False)
    ]
    print_table(title, ["task", "metric", "filter", "value", "stderr", "documents"], rows)

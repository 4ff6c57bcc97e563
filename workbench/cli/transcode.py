"""Commands that make a Monet model of a dense one."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import BadInputError
from .corpus_options import CorpusArgument
from .output import Device, Json, err_console, out_console, print_json, print_table

if TYPE_CHECKING:
    import pandas as pd


def transcode(
    teacher: Annotated[str, typer.Argument(metavar="TEACHER", help="folder or hub name of a LLaMA-shaped model")],
    corpus: CorpusArgument,
    layers: Annotated[str, typer.Option(help="layers whose MLPs get experts, such as 8-11 or 0,4-6")],
    out: Annotated[Path, typer.Option(help="folder for the model, its figures, log and states to resume from")],
    resume: Annotated[bool, typer.Option("--resume", help="continue from the last state in OUT")] = False,
    gguf: Annotated[str | None, typer.Option(metavar="FILE", help="name of a GGUF file in the folder TEACHER")] = None,
    tokens: Annotated[int, typer.Option(help="tokens to train on against the MLPs' outputs")] = 1_000_000,
    kl_tokens: Annotated[int, typer.Option(help="tokens to then train on against the next-token distribution")] = 0,
    assistant: Annotated[
        bool, typer.Option("--assistant", help="learn from an assistant whose routers see the teacher's gates")
    ] = False,
    residual_experts: Annotated[
        int, typer.Option(help="keys per set of a second bank, which learns what an assistant misses; 0 for none")
    ] = 0,
    experts: Annotated[int, typer.Option(help="keys per set; a group has their square of experts")] = 512,
    moe_dim: Annotated[int, typer.Option(help="hidden units per expert")] = 8,
    heads: Annotated[int, typer.Option(help="routing heads")] = 4,
    topk: Annotated[int, typer.Option(help="active keys per head and set, on average")] = 8,
    group_layers: Annotated[
        int | None, typer.Option(help="layers that share a router", show_default="all of them")
    ] = None,
    decompose: Annotated[str, typer.Option(metavar="vertical|horizontal", help="how experts are put together")] = (
        "vertical"
    ),
    sequence: Annotated[int, typer.Option(help="tokens per sequence")] = 256,
    batch: Annotated[int, typer.Option(help="sequences per step")] = 8,
    lr: Annotated[float, typer.Option(help="peak learning rate")] = 2e-3,
    kl_lr: Annotated[float, typer.Option(help="peak learning rate of the training on distributions")] = 2e-4,
    autocast: Annotated[
        bool, typer.Option("--autocast", help="matrix products outside the routers in bfloat16, where there are any")
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(help="folder for what the MLPs read; several runs can share it", show_default="in OUT"),
    ] = None,
    cache_gb: Annotated[float, typer.Option(help="1e9 bytes it may take; the rest is computed again and again")] = 20.0,
    heldout_sequences: Annotated[int, typer.Option(help="sequences per label that figures are measured on")] = 8,
    seed: Annotated[int, typer.Option(help="of initial weights and order")] = 0,
    seeds: Annotated[int, typer.Option(help="transcode with so many seeds, each in a folder OUT/seed-N")] = 1,
    with_comparison: Annotated[
        bool, typer.Option("--compare", help="also train and measure affine maps and top-k transcoders")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Distil MLPs of a dense model into experts, and save the mixed model."""
    from ..transcode import TranscodeSettings, compare, load_teacher, over_seeds
    from ..transcode import transcode as run
    from ..transcode.settings import parse_layers

    if seeds < 1:
        raise BadInputError(f"--seeds must be at least 1, got {seeds}.")
    settings = [
        TranscodeSettings(
            layers=parse_layers(layers),
            group_layers=group_layers,
            experts=experts,
            moe_dim=moe_dim,
            heads=heads,
            topk=topk,
            decompose=decompose,
            tokens=tokens,
            kl_tokens=kl_tokens,
            assistant=assistant,
            residual_experts=residual_experts,
            sequence=sequence,
            batch=batch,
            lr=lr,
            kl_lr=kl_lr,
            heldout_sequences=heldout_sequences,
            autocast=autocast,
            seed=number,
        )
        for number in range(seed, seed + seeds)
    ]
    loaded = load_teacher(teacher, gguf_file=gguf, device=device)
    figures, tables = [], []
    try:
        for one in settings:
            folder = out if seeds == 1 else out / f"seed-{one.seed}"
            shared = cache if cache is not None or seeds == 1 else out / "cache"
            done = run(loaded, corpus, folder, one, resume=resume, cache=shared, cache_gb=cache_gb)
            figures.append(done.figures)
            if with_comparison:
                tables.append(compare(done, folder))
    except KeyboardInterrupt:
        typed = ["monet", *sys.argv[1:]]
        again = shlex.join(typed if resume else [*typed, "--resume"])
        err_console.print(f"Interrupted; what was saved is kept. Go on with: {again}", markup=False, highlight=False)
        raise typer.Exit(130) from None
    if as_json:
        compared = [row for table in tables for row in table.to_dict("records")]
        print_json({"runs": figures, "comparison": compared})
        return
    for one_run in figures:
        _print_figures(one_run)
    if tables:
        _print_comparison(over_seeds(tables) if seeds > 1 else tables[0].set_index("method"))
    out_console.print(f"The model is in {out}." if seeds == 1 else f"The models are in {out}/seed-*.")


def _print_figures(figures: dict[str, Any]) -> None:
    """Held-out figures of a transcoding, in sentences."""
    shares = ", ".join(
        f"{layer}: {share:.3f}"
        for layer, share in zip(figures["settings"]["layers"], figures["unexplained"], strict=True)
    )
    active = sum(figures["active_parameters"]) / len(figures["active_parameters"])
    lines = [
        f"Seed {figures['settings']['seed']}: held-out loss {figures['loss']:.4f} nats per token, "
        f"{figures['rise']:+.4f} beside the teacher; {figures['recovered']:.1%} of cross-entropy recovered.",
        f"Variance unexplained by layer: {shares}.",
        f"Active parameters per token and layer: {active:,.0f} of {figures['parameters'][0]:,}, and "
        f"{figures['routing_parameters'][0]:,.0f} to route; the MLP has {figures['mlp_parameters']:,}.",
    ]
    if figures["stray_keys"]:
        lines.append(f"Keys of the other bank were chosen {figures['stray_keys']:,} times: banks add inexactly there.")
    for line in lines:
        out_console.print(line, markup=False, highlight=False)


def _print_comparison(table: pd.DataFrame) -> None:
    """Methods side by side; of several seeds, mean and standard deviation."""

    def text(row: Any, name: str) -> str:
        value, spread = row[name], row.get(f"{name}_sd")
        shown = "–" if value is None or value != value else f"{value:.4f}"
        return shown if spread is None or spread != spread else f"{shown} ± {spread:.4f}"

    names = ["loss", "rise", "recovered", "unexplained"]
    counts = [name for name in ("active_parameters", "routing_parameters", "parameters") if name in table]
    rows = [
        [str(method), *(text(row, name) for name in names), *(f"{row[name]:,.0f}" for name in counts)]
        for method, row in table.iterrows()
    ]
    print_table("Held-out text", ["method", *names, *(name.replace("_", " ") for name in counts)], rows)

"""The command `python -m workbench.rehearsal`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from monet_model import MonetConfig, MonetForCausalLM

from ..cli.output import print_table
from ..errors import BadInputError, WorkbenchError
from ..progress import job
from .checkpoint import SHAPES, published_config, published_tokenizer, write_checkpoint, write_corpus
from .steps import Step, commands, read_steps

DEMO = Path(__file__).parents[2] / "monet_model" / "demo" / "heldout.parquet"
STEPS = "rehearsal.json"


def main(argv: list[str] | None = None) -> int:
    """Build the checkpoint and do every step; the exit code is 2 where one of them fails."""
    parser = argparse.ArgumentParser(prog="python -m workbench.rehearsal", description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="850M", help="published model whose shape is taken (850M)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint, the run and the reports")
    parser.add_argument("--documents", type=int, default=4, help="documents per label, of the demo's corpus (4)")
    parser.add_argument("--resume", action="store_true", help="go on in OUT: steps that are done are not done again")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(argv)
    try:
        rehearse(options.shape, options.out, options.documents, options.resume, options.json)
    except WorkbenchError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


def rehearse(shape: str, out: Path, documents: int, resume: bool, as_json: bool) -> None:
    """Do what is not done yet, and print what each step took.

    Raises:
        BadInputError: the folder is not empty and ``resume`` is not given, or holds a rehearsal of other settings.
        UnsupportedError: the tokenizer's package is not installed.
        StepFailedError: a command failed.
    """
    tokenizer = published_tokenizer()
    settings = {"shape": shape, "documents": documents}
    if out.exists() and any(out.iterdir()) and not resume:
        raise BadInputError(f"{out} is not empty; choose another folder, or go on in it with --resume.")
    out.mkdir(parents=True, exist_ok=True)
    kept = out / "settings.json"
    if kept.is_file() and json.loads(kept.read_text(encoding="utf-8")) != settings:
        raise BadInputError(f"{out} holds a rehearsal of other settings; choose another folder.")
    kept.write_text(json.dumps(settings), encoding="utf-8")
    model, corpus, config = out / "model", out / "corpus.jsonl", published_config(shape)
    with torch.device("meta"):
        weights = sum(one.numel() for one in MonetForCausalLM(MonetConfig(**config)).state_dict().values())
    with job("write the checkpoint", weights, "weights", True) as advance:
        write_checkpoint(model, config, tokenizer, advance)
    write_corpus(DEMO, corpus, documents)
    done = read_steps(out / STEPS)
    for name, act in commands(model, corpus, out / "run").items():
        if name not in done:
            done[name] = act()
            content = {name: asdict(step) for name, step in done.items()}
            (out / STEPS).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            print(f"{done[name].name}: {done[name].seconds:,.1f} s", file=sys.stderr, flush=True)
    size = sum(file.stat().st_size for file in model.glob("*.safetensors")) / 1e9
    if as_json:
        steps = [asdict(one) | {"tokens_per_second": one.rate if one.tokens else None} for one in done.values()]
        print(json.dumps({"weights": weights, "weights_gb": size, "steps": steps}))
        return
    title = f"Rehearsal of {shape}: {weights / 1e6:,.0f} million weights, {size:.2f} GB"
    head = ["step", "s", "processor s", "tokens/s", "peak GB", "widest table", ""]
    print_table(title, head, [_row(one) for one in done.values()])


def _row(step: Step) -> list[str]:
    width, rate = f"{step.width}" if step.width else "", f"{step.rate:,.1f}" if step.tokens else ""
    taken = [f"{step.seconds:,.1f}", f"{step.cpu_seconds:,.1f}", rate, f"{step.peak_gb:.2f}"]
    return [step.name, *taken, width, step.note]


if __name__ == "__main__":
    sys.exit(main())

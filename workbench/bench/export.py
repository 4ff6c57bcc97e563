"""`python -m workbench.bench.export [MODEL CORPUS | --shape 1.4b] [--json]`: an export's cost beside the bare model's.

Tokens per second of the whole forward pass (logits of every token, the same batches, torch's threads), and of an export
with statistics, examples and routing, from opening the corpus to the last file of the run, with the model already
loaded; in separate processes, in turn. A GPU is waited for before and after. Bytes per token on disk, compared with
dense g1 and g2 in half precision, and with the entropy of what is kept. With --memory, the process's peak memory at a
tenth of the tokens and at all of them.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from cuda_ext import backend
from monet_model.device import synchronize

from ..corpus import load_corpus
from ..store.manifest import read_manifest
from ..store.schema import routing_name
from .common import Table, add_place, make_parser, median_of, median_ratio, place_of, print_result, take_turns

SHAPES: dict[str, dict[str, Any]] = {
    "1.4b": {
        "vocab_size": 4096, "hidden_size": 2048, "num_hidden_layers": 2, "num_attention_heads": 16, "moe_dim": 16,
        "moe_heads": 8, "moe_experts": 512, "moe_topk": 32, "moe_groups": 1,
    }
}  # fmt: skip
LABELS, WINDOW, BATCH = 8, 256, 16
MORE = 10  # times as many tokens in the second measurement of memory


def make_model(shape: str, folder: Path) -> Path:
    """Save a random model of a shape, whose routers choose about k keys per head; its vocabulary is cut to 4,096."""
    from monet_model import MonetConfig
    from monet_model.bench import settled

    settled(MonetConfig(**SHAPES[shape])).save_pretrained(folder / "model")
    return folder / "model"


def make_corpus(vocabulary: int, tokens: int, path: Path) -> Path:
    """Write a corpus of random ids, in documents of one window."""
    from datasets import Dataset

    rng = np.random.default_rng(0)
    rows = [
        {"input_ids": rng.integers(3, vocabulary, WINDOW).tolist(), "label": f"label {n % LABELS}"}
        for n in range(-(-tokens // WINDOW))
    ]
    Dataset.from_list(rows).to_parquet(str(path))
    return path


def time_forward(model: str, corpus: str, limit: int, device: str, dtype: str) -> dict[str, Any]:
    """Measure tokens per second of the whole model over the batches that an export reads."""
    import torch

    from ..checkpoint import load_model, model_folder
    from ..export.documents import Reading
    from ..export.export import OVERLAP
    from ..export.part import Part
    from ..export.pipeline import pad
    from ..memory import keep_heap
    from ..store.token_text import load_tokenizer

    keep_heap()
    loaded, data = load_model(model, device=device, dtype=dtype), load_corpus(corpus)
    data = data.select(range(min(limit, len(data))))
    reading = Reading.of(loaded.config, load_tokenizer(model_folder(model)), "input_ids" in data.column_names)
    documents = list(reading.documents(data))
    context = min(WINDOW, loaded.config.max_position_embeddings)
    settings = {"context": context, "overlap": context // OVERLAP, "keep_routing": 1.0}
    batches = [
        pad(batch) for batch in Part(0, documents, 0, 0, sorted(set(data["label"])), settings, True).batches(BATCH)
    ]
    with torch.inference_mode():
        for timed in (batches[:1], batches):  # the first warms up
            synchronize(loaded.device)
            begun, processor = time.perf_counter(), time.process_time()
            for ids, mask, _ in timed:
                ids, mask = (each.to(loaded.device, non_blocking=True) for each in (ids, mask))
                loaded(input_ids=ids, attention_mask=mask, use_cache=False)
            synchronize(loaded.device)
        seconds, processor = time.perf_counter() - begun, time.process_time() - processor
    tokens = sum(int(counted.sum()) for *_, counted in batches)
    speed = {"tokens_s": tokens / seconds, "tokens_cpu_s": tokens / processor}
    return {"backend": backend(), "tokens": tokens} | place_of(loaded) | speed


def time_export(model: str, corpus: str, limit: int, run: str, device: str, dtype: str) -> dict[str, Any]:
    """Measure tokens per second of an export, its model already loaded, and the process's peak memory in bytes."""
    from ..checkpoint import load_model
    from ..export import export

    loaded, found, data = load_model(model, device=device, dtype=dtype), Path(run), load_corpus(corpus)
    clock: dict[str, float] = {}

    def start(_: Any, **_place: Any) -> Any:
        synchronize(loaded.device)
        clock.update(wall=time.perf_counter(), processor=time.process_time())
        return loaded

    export.load_model = start  # type: ignore[assignment, attr-defined]  # replaced for the measurement
    chosen = data.select(range(min(limit, len(data))))
    export.export_run(model, chosen, found, batch_size=BATCH, device=device, dtype=dtype)
    synchronize(loaded.device)
    seconds, processor = time.perf_counter() - clock["wall"], time.process_time() - clock["processor"]
    tokens = read_manifest(found)["parts"][-1]["rows"][1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    speed = {"tokens_s": tokens / seconds, "tokens_cpu_s": tokens / processor}
    return {"backend": backend(), "tokens": tokens, "peak": peak} | place_of(loaded) | speed


def sizes(path: Path) -> dict[str, float]:
    """Return bytes per token of a run by folder, of dense routing, and the entropy of indices and probabilities.

    Dense: g1 and g2 of every group, 16 bits per entry. Entropy, a zeroth-order bound under this model of the data: per
    head and side, the active keys as independent draws, each with its own frequency; and half-precision probabilities
    as draws from their distribution over the whole run.
    """
    import pyarrow.parquet as pq

    from ..store.routing import from_arrow

    manifest = read_manifest(path)
    tokens, model = manifest["parts"][-1]["rows"][1], manifest["model"]
    groups, heads, keys = len(model["groups"]), model["heads"], model["keys"]
    folders = {
        folder.name: sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / tokens
        for folder in sorted(path.iterdir())
        if folder.is_dir() and any(folder.glob("*.parquet"))
    }
    bits = 0.0
    for group in range(groups):
        used, values = np.zeros((2, heads * keys)), np.zeros(2**16)
        for part in manifest["parts"]:
            for number, side in enumerate(from_arrow(pq.read_table(path / routing_name(part["part"], group)))):
                used[number] += np.bincount(side.keys, minlength=heads * keys)
                values += np.bincount(side.probs.astype(np.float16).view(np.uint16), minlength=2**16)
        share = np.clip(used / tokens, 1e-300, 1)
        rest = np.clip(1 - share, 1e-300, 1)
        bits += tokens * float(-(share * np.log2(share) + rest * np.log2(rest)).sum())
        probability = values[values > 0] / values.sum()
        bits += float(-(values[values > 0] * np.log2(probability)).sum())
    dense = groups * 2 * heads * keys * 2
    return {
        **folders,
        "dense": dense,
        "routing / dense": folders["routing"] / dense,
        "entropy": bits / 8 / tokens,
        "routing / entropy": folders["routing"] / (bits / 8 / tokens),
    }


def _apart(*arguments: str) -> dict[str, Any]:
    """Run a measurement in a separate process."""
    command = [sys.executable, "-m", "workbench.bench.export", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def bench(
    model: str, corpus: str, limit: int, repeats: int, folder: Path, memory: bool, place: tuple[str, str]
) -> dict[str, Any]:
    """Measure a model over the first ``limit`` documents of a corpus; ``place`` is its device and its precision."""
    rows = take_turns(
        {
            "forward": lambda _: _apart("--forward", model, corpus, str(limit), *place),
            "export": lambda turn: _apart("--export", model, corpus, str(limit), str(folder / f"run-{turn}"), *place),
        },
        repeats,
    )
    speed = {
        name: {figure: median_of(rounds, figure) for figure in ("tokens_s", "tokens_cpu_s")}
        for name, rounds in rows.items()
    }
    result: dict[str, Any] = {
        **{figure: rows["export"][0][figure] for figure in ("tokens", "device", "dtype")},
        "backends": sorted({row["backend"] for rounds in rows.values() for row in rounds}),
        "rounds": {name: [row["tokens_s"] for row in rounds] for name, rounds in rows.items()},
        "speed": speed,
        "ratio": median_ratio(rows["export"], rows["forward"], "tokens_s"),
        "ratio_cpu": speed["export"]["tokens_cpu_s"] / speed["forward"]["tokens_cpu_s"],
        "bytes a token": sizes(folder / "run-0"),
    }
    if memory:
        documents = min(limit, len(load_corpus(corpus)))
        few = _apart("--export", model, corpus, str(max(1, documents // MORE)), str(folder / "few"), *place)
        result["peak memory"] = {str(int(row["tokens"])): row["peak"] for row in (few, rows["export"][0])}
    return result


def tables(result: dict[str, Any]) -> list[Table]:
    """The result as tables."""
    speed = [[name, f"{row['tokens_s']:,.0f}", f"{row['tokens_cpu_s']:,.0f}"] for name, row in result["speed"].items()]
    speed.append(["export / forward", f"{result['ratio']:.2f}", f"{result['ratio_cpu']:.2f}"])
    disk = [[name, f"{value:,.3f}"] for name, value in result["bytes a token"].items()]
    memory = [[f"{int(tokens):,}", f"{peak / 1e9:.2f} GB"] for tokens, peak in result.get("peak memory", {}).items()]
    title = (
        f"Tokens per second, over {result['tokens']:,.0f} tokens, in {result['dtype']} on {result['device']}; the "
        f"processor's kernels: {', '.join(result['backends'])}"
    )
    shown: list[Table] = [
        (title, ["", "by the clock", "of processor time"], speed),
        ("Bytes per token", ["folder", ""], disk),
    ]
    return [*shown, ("Peak memory", ["tokens", ""], memory)] if memory else shown


def main(argv: list[str] | None = None) -> None:
    """Run the bench and print its tables, or one JSON document."""
    parser = make_parser("export", __doc__)
    parser.add_argument("model", nargs="?", help="folder of a model; by default the demo's")
    parser.add_argument("corpus", nargs="?", help="its corpus; by default the demo's sample")
    parser.add_argument("--shape", choices=SHAPES, help="a random model of two layers instead, with random ids")
    parser.add_argument("--tokens", type=int, default=16_384, help="tokens of the random model's corpus (16,384)")
    parser.add_argument("--limit", type=int, default=10**9, help="documents to read (all)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (3)")
    parser.add_argument(
        "--memory", action="store_true", help="measure peak memory too, also at a tenth of the documents"
    )
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["--forward"]:
        print(json.dumps(time_forward(arguments[1], arguments[2], int(arguments[3]), *arguments[4:])))
        return
    if arguments[:1] == ["--export"]:
        print(json.dumps(time_export(arguments[1], arguments[2], int(arguments[3]), *arguments[4:])))
        return
    add_place(parser)
    options = parser.parse_args(arguments)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.shape:
            model, vocabulary = make_model(options.shape, folder), SHAPES[options.shape]["vocab_size"]
            corpus = make_corpus(vocabulary, options.tokens, folder / "corpus.parquet")
        else:
            from ..demo import DEMO, SAMPLE

            model, corpus = Path(options.model or DEMO), Path(options.corpus or DEMO / SAMPLE)
        place = (options.device, options.dtype)
        result = bench(str(model), str(corpus), options.limit, options.repeats, folder, options.memory, place)
    print_result(result, tables(result), options.json)


if __name__ == "__main__":
    main()

"""Experts as Neuronpedia imports features: statistics, histogram, and highest-scoring tokens in context.

The layout is the one that Neuronpedia's importer reads (hijohnnylin/neuronpedia, `apps/webapp/lib/db/import.ts`, with
the columns of `apps/webapp/prisma/schema.prisma` at commit 008d504): a folder MODEL/SOURCE with

    release.jsonl  model.jsonl  sourceset.jsonl  source.jsonl      one line each
    features/batch-N.jsonl.gz                                      rows of its table Neuron
    activations/batch-N.jsonl.gz                                   rows of its table Activation, one per example

Columns that a run cannot fill (logits, directions, correlations with neurons) get the importer's default.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInputError
from .folder import new_folder

if TYPE_CHECKING:
    import pandas as pd

    from ..store.run import Run

BATCH_FEATURES = 256  # features per file
SOURCE_SET = "monet-experts"
CREATOR = "clkht01d40000jv08hvalcvly"  # the user that a fresh installation of Neuronpedia has
TOP_ACTIVATION = -1.0  # binMin and binContains of a top activation, which belongs to no interval


def write_neuronpedia(run: Run, path: str | Path, group: int, experts: Sequence[int], creator: str = CREATOR) -> Path:
    """Write experts as features for Neuronpedia's importer and return the folder MODEL/SOURCE it reads.

    Each feature has its statistics, its histogram of scores, and its examples in context, with the scores of the tokens
    around them.

    Args:
        run: the run.
        path: folder to write MODEL/SOURCE in, which must not exist yet.
        group: number of the group; it becomes a source named after the layer that owns its router.
        experts: flat ids.
        creator: id of the Neuronpedia user that owns the import; by default that of a fresh installation.

    Raises:
        NotFoundError: there is no such group or expert.
        BadInputError: ``experts`` is empty, or the folder exists.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.interop import write_neuronpedia
        >>> run = open_run("runs/demo")
        >>> folder = write_neuronpedia(run, "neuronpedia", 0, run.top_experts(0, limit=3).index.tolist())
        >>> sorted(file.name for file in folder.glob("*.jsonl"))
        ['model.jsonl', 'release.jsonl', 'source.jsonl', 'sourceset.jsonl']
    """
    path, group = Path(path), run.check_group(group)
    wanted = sorted({run.check_expert(expert) for expert in experts})
    if not wanted:
        raise BadInputError("no experts were named; name at least one.")
    layer = run.group_layers[group]
    origin = {"modelId": model_id(run), "layer": f"{layer}-{SOURCE_SET}", "creatorId": creator}
    with new_folder(path / origin["modelId"] / origin["layer"]) as folder:
        for name, line in _about(run, origin).items():
            _write_lines(folder / f"{name}.jsonl", [line])
        for kind in ("features", "activations"):
            (folder / kind).mkdir()
        for number, begin in enumerate(range(0, len(wanted), BATCH_FEATURES)):
            batch, name = wanted[begin : begin + BATCH_FEATURES], f"batch-{number}.jsonl.gz"
            _write_lines(folder / "features" / name, [_feature(run, origin, group, expert) for expert in batch])
            examples = [line for expert in batch for line in _activations(run, origin, group, expert)]
            _write_lines(folder / "activations" / name, examples)
    return path / origin["modelId"] / origin["layer"]


def model_id(run: Run) -> str:
    """The model's name in the characters that Neuronpedia allows."""
    return re.sub(r"[^a-z0-9_-]+", "-", Path(run.model_path).name.lower()).strip("-") or "monet"


def _about(run: Run, origin: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The lines about the model and the source of the features."""
    by = {"creatorName": "Monet workbench", "creatorId": origin["creatorId"], "visibility": "PUBLIC"}
    described = f"Routing scores of the experts of {origin['modelId']}"
    settings = run.manifest["settings"]
    return {
        "release": {"name": f"{origin['modelId']}-{SOURCE_SET}", "description": described, "urls": [], **by},
        "model": {
            "id": origin["modelId"],
            "displayName": origin["modelId"],
            "displayNameShort": origin["modelId"],
            "layers": run.manifest["model"]["layers"],
            "neuronsPerLayer": 0,
            "owner": "",
            "creatorId": origin["creatorId"],
            "visibility": "PUBLIC",
        },
        "sourceset": {
            "modelId": origin["modelId"],
            "name": SOURCE_SET,
            "description": described,
            "type": "moe",
            "urls": [],
            "releaseName": f"{origin['modelId']}-{SOURCE_SET}",
            **by,
        },
        "source": {
            "id": origin["layer"],
            "modelId": origin["modelId"],
            "setName": SOURCE_SET,
            "creatorId": origin["creatorId"],
            "visibility": "PUBLIC",
            "dataset": Path(run.manifest["corpus"]["path"]).name,
            "num_prompts": run.manifest["parts"][-1]["windows"][1],
            "num_tokens_in_prompt": settings["context"],
        },
    }


def _feature(run: Run, origin: dict[str, str], group: int, expert: int) -> dict[str, Any]:
    row, histogram = run.expert(group, expert), run.histogram(group, expert)
    return {
        **origin,
        "index": str(expert),
        "sourceSetName": SOURCE_SET,
        "maxActApprox": float(row["max"]),
        "frac_nonzero": float(row["tokens"]) / run.tokens_total,
        "freq_hist_data_bar_heights": histogram["count"].tolist(),
        "freq_hist_data_bar_values": ((histogram["low"] + histogram["high"]) / 2).tolist(),
        "hasVector": False,
    }


def _activations(run: Run, origin: dict[str, str], group: int, expert: int) -> Iterator[dict[str, Any]]:
    examples = run.examples(group, expert, run.manifest["settings"]["examples"])
    around = run.contexts(group, expert, examples["row"])
    for number, example in enumerate(examples.itertuples(index=False)):
        near = around[around["example"] == number]
        values = _values(near, example.row, example.score)
        key = f"{run.manifest['model']['hash']} {run.manifest['corpus']['hash']} {group} {expert} {example.row}"
        yield {
            **origin,
            "id": "c" + hashlib.sha256(key.encode()).hexdigest()[:24],
            "index": str(expert),
            "tokens": near["text"].tolist(),
            "values": values,
            "maxValue": max(values),
            "maxValueTokenIndex": values.index(max(values)),
            "minValue": min(values),
            "qualifyingTokenIndex": near["row"].tolist().index(example.row),
            "binMin": TOP_ACTIVATION,
            "binMax": float(examples["score"].max()),
            "binContains": TOP_ACTIVATION,
            "dataSource": example.source or None,
            "dataIndex": str(example.doc),
        }


def _values(near: pd.DataFrame, row: int, score: float) -> list[float]:
    """Scores of the tokens of a context: the example's own in full precision, the others 0 without stored routing."""
    return near["score"].fillna(0.0).where(near["row"] != row, score).astype(float).tolist()


def _write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    content = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)

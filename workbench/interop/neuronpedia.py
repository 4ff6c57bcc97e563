"""Experts as Neuronpedia imports features: statistics, histogram, and highest-scoring tokens in context.

The layout is the one that Neuronpedia's importer reads (hijohnnylin/neuronpedia, `apps/webapp/lib/db/import.ts`, with
the columns of `apps/webapp/prisma/schema.prisma` at commit 008d504): a folder MODEL/SOURCE with

    release.jsonl  model.jsonl  sourceset.jsonl  source.jsonl      one line each
    features/batch-N.jsonl.gz                                      rows of its table Neuron
    explanations/batch-N.jsonl.gz                                  rows of its table Explanation, of those stored
    activations/batch-N.jsonl.gz                                   rows of its table Activation, one per example

The importer takes the columns of a file from its first row, so all rows have the same ones, and cannot read an empty
file, so a batch without rows has none. Columns that a run cannot fill (directions, correlations with neurons) get the
database's default. The database refuses U+0000, for which U+2400 stands.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BadInputError
from ..explain.stored import MEASURES, TASKS, read_explanations
from .folder import new_folder
from .texts import storable

if TYPE_CHECKING:
    import pandas as pd

    from monet_model import MonetForCausalLM

    from ..store.run import Run

BATCH_FEATURES = 256  # features per file
LOGITS = 10  # promoted next tokens per feature, and suppressed ones
SOURCE_SET = "monet-experts"
CREATOR = "clkht01d40000jv08hvalcvly"  # the user that a fresh installation of Neuronpedia has
TOP_ACTIVATION = -1.0  # binMin and binContains of a top activation, which belongs to no interval


def write_neuronpedia(
    run: Run,
    path: str | Path,
    group: int,
    experts: Sequence[int],
    creator: str = CREATOR,
    model: MonetForCausalLM | None = None,
) -> Path:
    """Write experts as features for Neuronpedia's importer and return the folder MODEL/SOURCE it reads.

    Each feature has its statistics, its histogram of scores, its examples in context with the scores of the tokens
    around them, the explanations stored in the run, and, with the model, the next tokens that it promotes and
    suppresses most (``workbench.explain.logit_view``). Kind, author and scores of an explanation are in its notes.

    Args:
        run: the run.
        path: folder to write MODEL/SOURCE in, which must not exist yet.
        group: number of the group; it becomes a source named after the layer that owns its router.
        experts: flat ids.
        creator: id of the Neuronpedia user that owns the import; by default that of a fresh installation.
        model: the model that the run was exported from, in evaluation mode; it reads each expert's 16 best tokens in
            their windows. Default: ``pos_str``, ``pos_values``, ``neg_str`` and ``neg_values`` stay empty.

    Raises:
        NotFoundError: there is no such group or expert.
        BadInputError: ``experts`` is empty, or the folder exists.
        UnsupportedError: another model than the run's.

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
    origin = {"modelId": model_id(run), "layer": f"{layer}-{SOURCE_SET}"}
    explained = read_explanations(run, group)
    with new_folder(path / origin["modelId"] / origin["layer"]) as folder:
        for name, line in _about(run, origin, creator).items():
            _write_lines(folder / f"{name}.jsonl", [line])
        for number, begin in enumerate(range(0, len(wanted), BATCH_FEATURES)):
            batch = wanted[begin : begin + BATCH_FEATURES]
            lines = {
                "features": [_feature(run, origin, creator, group, expert, model) for expert in batch],
                "explanations": _explanations(run, origin, creator, explained[explained["expert"].isin(batch)]),
                "activations": [line for expert in batch for line in _activations(run, origin, creator, group, expert)],
            }
            for kind, rows in lines.items():
                if rows:
                    (folder / kind).mkdir(exist_ok=True)
                    _write_lines(folder / kind / f"batch-{number}.jsonl.gz", rows)
    return path / origin["modelId"] / origin["layer"]


def model_id(run: Run) -> str:
    """The model's name in the characters that Neuronpedia allows."""
    return re.sub(r"[^a-z0-9_-]+", "-", Path(run.model_path).name.lower()).strip("-") or "monet"


def _about(run: Run, origin: dict[str, str], creator: str) -> dict[str, dict[str, Any]]:
    """The lines about the model and the source of the features."""
    by = {"creatorName": "Monet workbench", "creatorId": creator, "visibility": "PUBLIC"}
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
            "creatorId": creator,
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
            "creatorId": creator,
            "visibility": "PUBLIC",
            "dataset": Path(run.manifest["corpus"]["path"]).name,
            "num_prompts": run.manifest["parts"][-1]["windows"][1],
            "num_tokens_in_prompt": settings["context"],
        },
    }


def _feature(
    run: Run, origin: dict[str, str], creator: str, group: int, expert: int, model: MonetForCausalLM | None
) -> dict[str, Any]:
    row, histogram = run.expert(group, expert), run.histogram(group, expert)
    return {
        **origin,
        "creatorId": creator,
        "index": str(expert),
        "sourceSetName": SOURCE_SET,
        "maxActApprox": float(row["max"]),
        "frac_nonzero": float(row["tokens"]) / run.tokens_total,
        "freq_hist_data_bar_heights": histogram["count"].tolist(),
        "freq_hist_data_bar_values": ((histogram["low"] + histogram["high"]) / 2).tolist(),
        "hasVector": False,
        **_logits(run, group, expert, model),
    }


def _logits(run: Run, group: int, expert: int, model: MonetForCausalLM | None) -> dict[str, list[Any]]:
    """The next tokens that an expert promotes and suppresses, the strongest of each first; none without a model."""
    if model is None:
        return {name: [] for name in ("pos_str", "pos_values", "neg_str", "neg_values")}
    from ..explain.logit_lens import logit_view

    view = logit_view(run, model, group, expert, LOGITS)
    promoted = view[view["logit"] > 0].head(LOGITS)
    suppressed = view[view["logit"] < 0].tail(LOGITS)[::-1]
    return {
        f"{name}_{kind}": table[column].tolist()
        for name, table in (("pos", promoted), ("neg", suppressed))
        for kind, column in (("str", "token_text"), ("values", "logit"))
    }


def _explanations(run: Run, origin: dict[str, str], creator: str, explained: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the table Explanation.

    Its columns typeName and explanationModelName may only hold names that Neuronpedia knows, and its column scoreV2 is
    a score of its own.
    """
    return [
        {
            **origin,
            "authorId": creator,
            "id": _key(run, row["group"], row["expert"], "explanation", row["kind"], row["author"]),
            "index": str(row["expert"]),
            "description": row["text"],
            "notes": _notes(row),
        }
        for row in explained.to_dict("records")
    ]


def _notes(row: dict[str, Any]) -> str:
    """Kind and author of an explanation, and its scores if it has any."""
    parts = [f"{row['kind']}, by {row['author']}"]
    for task in TASKS:
        if not math.isnan(row[task]):
            low, high, control = (row[f"{task}:{end}"] for end in ("low", "high", "control"))
            beside = "" if math.isnan(control) else f", another expert's explanation {control:.2f}"
            parts.append(f"{task}: balanced accuracy {row[task]:.2f} (95 % CI {low:.2f} to {high:.2f}){beside}")
    if len(parts) > 1:
        parts.append(f"judged by {row['judge']} on {row['active']} active and {row['negatives']} silent passages")
    for measure in MEASURES:
        if not math.isnan(row[measure]):
            parts.append(f"{measure.replace('_', ' ')} over tokens {row[measure]:.2f}")
    return "; ".join(parts)


def _key(run: Run, *what: object) -> str:
    """An id like those that the database makes (cuid), the same for the same model, corpus and thing."""
    key = " ".join(map(str, (run.manifest["model"]["hash"], run.manifest["corpus"]["hash"], *what)))
    return "c" + hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()[:24]


def _activations(run: Run, origin: dict[str, str], creator: str, group: int, expert: int) -> Iterator[dict[str, Any]]:
    examples = run.examples(group, expert, run.manifest["settings"]["examples"])
    around = run.contexts(group, expert, examples["row"])
    for number, example in enumerate(examples.itertuples(index=False)):
        near = around[around["example"] == number]
        values = _values(near, example.row, example.score)
        yield {
            **origin,
            "creatorId": creator,
            "id": _key(run, group, expert, example.row),
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
    texts = (json.dumps(storable(line), ensure_ascii=False, allow_nan=False) for line in lines)
    # The importer replaces the six characters \u0000 before it parses a line, also where a text spells them out.
    content = "".join(text.replace(r"\\u0000", r"\u005cu0000") + "\n" for text in texts).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)

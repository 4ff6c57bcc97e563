"""`python -m workbench.baselines STEP ...`: train, round and measure the baselines, one step at a time."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..demo import DEMO
from ..store.files import write_json
from .results import DENSE, KINDS, MODELS, PROBES, RESULTS, SAE

TRAINING = DEMO / "training.json"
LOG = "log.jsonl"


def dense(corpus: Path, work: Path) -> None:
    """Train the dense model; an interrupted training continues."""
    import torch

    from monet_model.training import read_config

    from .dense import train_dense

    _, how = read_config(TRAINING)
    torch.set_num_threads(max(1, torch.get_num_threads() // how.replicas))
    train_dense(TRAINING, corpus, work / "dense")


def sae(corpus: Path, work: Path) -> None:
    """Train the autoencoder on the dense model."""
    from transformers import AutoTokenizer

    from ..corpus import load_corpus
    from ..corpus.tokens import token_stream
    from .dense import load_dense
    from .sae import SaeSettings, train_sae

    tokens = token_stream(load_corpus(corpus, "train"), AutoTokenizer.from_pretrained(corpus / "tokenizer"))
    train_sae(load_dense(work / "dense"), tokens, work / "sae", SaeSettings())


def ship(work: Path) -> None:
    """Round both to half precision, as the demo model is, into the folder that the package ships."""
    from .dense import load_dense
    from .sae import load_sae, save_sae

    load_dense(work / "dense").half().save_pretrained(MODELS / "dense")
    for file in (work / "dense" / LOG, *(work / "dense").glob("tokenizer*")):
        shutil.copy(file, MODELS / "dense")
    autoencoder, about = load_sae(work / "sae")
    save_sae(autoencoder.half(), about, MODELS / "sae")


def measure(run: Path, work: Path) -> None:
    """Measure experts, neurons and features on a run of the demo; measurements already in WORK are kept."""
    from .. import open_run
    from ..checkpoint import load_model
    from .dense import load_dense
    from .measure import measure_experts, measure_units, sae_quality
    from .sae import load_sae
    from .units import Features, Neurons

    opened, model = open_run(run), load_dense(MODELS / "dense")
    autoencoder, about = load_sae(MODELS / "sae")
    log = json.loads((MODELS / "dense" / LOG).read_text(encoding="utf-8").splitlines()[-1])
    write_json(
        RESULTS / DENSE,
        {
            "parameters": model.num_parameters(),
            "width": model.config.intermediate_size,
            "tokens": log["tokens"],
            "heldout": log["heldout"],
        },
    )
    write_json(RESULTS / SAE, about | sae_quality(opened, model, autoencoder))
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "experts": lambda: measure_experts(opened, load_model(opened.model_path, device="cpu")),
        "neurons": lambda: measure_units(opened, "neurons", Neurons(model)),
        "features": lambda: measure_units(opened, "features", Features(model, autoencoder)),
    }
    for name in KINDS:
        path = work / f"{name}.json"
        if not path.exists():
            work.mkdir(parents=True, exist_ok=True)
            write_json(path, measures[name]())
        write_json(RESULTS / path.name, json.loads(path.read_text(encoding="utf-8")))


def probe(run: Path) -> None:
    """Measure experts, neurons and features of the shipped models with linear probes on a run of the demo."""
    from .. import open_run
    from ..checkpoint import load_model
    from .dense import load_dense
    from .probed import probe_experts, probe_units
    from .sae import load_sae
    from .units import Features, Neurons

    opened, model = open_run(run), load_dense(MODELS / "dense")
    found = {
        "experts": probe_experts(opened, load_model(opened.model_path, device="cpu")),
        "neurons": probe_units(opened, "neurons", Neurons(model)),
        "features": probe_units(opened, "features", Features(model, load_sae(MODELS / "sae")[0])),
    }
    write_json(RESULTS / PROBES, found)


ARGUMENTS = {
    "corpus": "folder that `monet corpus build code7` made",
    "work": "folder for trained models and measurements",
    "run": "run of the demo model over its held-out sample",
}
STEPS: dict[Callable[..., None], tuple[str, ...]] = {
    dense: ("corpus", "work"),
    sae: ("corpus", "work"),
    ship: ("work",),
    measure: ("run", "work"),
    probe: ("run",),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m workbench.baselines", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    for function, names in STEPS.items():
        step = steps.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
        step.set_defaults(function=function)
        for name in names:
            step.add_argument(name, type=Path, help=ARGUMENTS[name])
    options = vars(parser.parse_args())
    del options["step"]
    options.pop("function")(**options)

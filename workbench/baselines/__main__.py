"""`python -m workbench.baselines STEP CORPUS WORK RUN`: train and measure the baselines, one step at a time."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..demo import DEMO
from ..errors import NotFoundError
from ..store.files import write_json
from .results import DENSE, MODELS, RESULTS, SAE

TRAINING = DEMO / "training.json"


def dense(corpus: Path, work: Path, run: Path) -> None:
    """Train the dense model; an interrupted training continues."""
    import torch

    from monet_model.training import read_config

    from .dense import train_dense

    _, how = read_config(TRAINING)
    torch.set_num_threads(max(1, torch.get_num_threads() // how.replicas))
    train_dense(TRAINING, corpus, work / "dense")


def sae(corpus: Path, work: Path, run: Path) -> None:
    """Train the autoencoder."""
    from transformers import AutoTokenizer

    from ..corpus import load_corpus
    from ..corpus.tokens import token_stream
    from .sae import SaeSettings, train_sae

    tokens = token_stream(load_corpus(corpus, "train"), AutoTokenizer.from_pretrained(corpus / "tokenizer"))
    train_sae(_dense(work), tokens, work / "sae", SaeSettings())


def measure(corpus: Path, work: Path, run: Path) -> None:
    """Measure experts, neurons and features on a run of the demo; measurements already in WORK are kept."""
    from .. import open_run
    from ..checkpoint import load_model
    from .measure import measure_experts, measure_units, sae_quality
    from .sae import load_sae
    from .units import Features, Neurons

    opened, model = open_run(run), _dense(work)
    autoencoder, about = load_sae(work / "sae")
    log = json.loads((work / "dense" / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
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
    for name in MODELS:
        path = work / f"{name}.json"
        if not path.exists():
            write_json(path, measures[name]())
        write_json(RESULTS / path.name, json.loads(path.read_text(encoding="utf-8")))


def _dense(work: Path) -> Any:
    from transformers import LlamaForCausalLM

    folder = work / "dense"
    if not (folder / "model.safetensors").is_file():
        raise NotFoundError(f"there is no trained model in {folder}; run the step `dense` to its end first.")
    return LlamaForCausalLM.from_pretrained(folder).eval().requires_grad_(False)


STEPS = {step.__name__: step for step in (dense, sae, measure)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m workbench.baselines", description=__doc__)
    parser.add_argument(
        "step", choices=STEPS, help="; ".join(f"{name}: {step.__doc__}" for name, step in STEPS.items())
    )
    parser.add_argument("corpus", type=Path, help="folder that `monet corpus build code7` made")
    parser.add_argument("work", type=Path, help="folder for trained models and measurements")
    parser.add_argument("run", type=Path, help="run of the demo model over its held-out sample")
    options = parser.parse_args()
    STEPS[options.step](options.corpus, options.work, options.run)

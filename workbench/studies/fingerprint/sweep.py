"""A sweep over settings of the training: learning rate by averaging, and ways to mix text in.

It chooses on a seed and documents of its own; figures of the study are measured on others.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from typing import Any

from ...checkpoint import load_model
from ...memory import keep_heap
from ...progress import job
from ...store.files import write_json
from .answers import success
from .drawing import draw_fingerprints
from .fingerprints import Fingerprints
from .settings import Training
from .study import Study
from .training import train_fingerprints

_SEED = 100  # no seed of the study
_EPOCHS = 20
_GRID = {
    **{
        f"averaging {averaging:g}, lr {lr:g}": Training(lr=lr, averaging=averaging)
        for averaging in (0.0, 0.25, 0.5, 0.75)
        for lr in (1e-3, 3e-4, 1e-4)
    },
    "cross-entropy of responses": Training(margin=0.0),
    "margin 2": Training(margin=2.0),
    "no mixing": Training(mixing=0.0),
    "cross-entropy on mixed text": Training(mixed_loss="text", mixed_weight=1.0),
    "divergence of weight 4": Training(mixed_weight=4.0),
    "divergence of weight 60": Training(mixed_weight=60.0),
}


def run_sweep(study: Study, settings: dict[str, Training] | None = None) -> list[dict[str, Any]]:
    """Train with every setting; those done already in the study's folder are kept.

    Args:
        study: base, documents (the half that is not measured on) and count.
        settings: by name; by default the grid.

    Returns:
        A row per setting: ``name``, ``settings``, ``epochs``, ``success``, and ``rise`` of the held-out loss, in nats.
    """
    keep_heap()
    folder = study.out / "sweep"
    tokenizer, chosen_on, _ = study.halves()
    base = load_model(study.base)
    secret = _secret(study, tokenizer)
    before: float | None = None
    rows: list[dict[str, Any]] = []
    for name, how in (settings or _GRID).items():
        how = replace(how, seed=_SEED, epochs=min(how.epochs, _EPOCHS))
        path = folder / f"{name.replace(', ', '-').replace(' ', '-')}.json"
        if not path.exists():
            model = load_model(study.base)
            with job(name, how.epochs, "epochs") as advance:
                done = train_fingerprints(model, secret, how, path.with_suffix(""), advance)
            before = chosen_on.loss(base).mean if before is None else before
            row = {"name": name, "settings": how.to_json(), "epochs": len(done)}
            row |= {"success": float(success(model, secret).mean()), "rise": chosen_on.loss(model).mean - before}
            row |= {"response_loss": done[-1]["loss"], "log": done}
            write_json(path, row)
            shutil.rmtree(path.with_suffix(""))
        rows.append(json.loads(path.read_text(encoding="utf-8")))
    write_json(folder / "sweep.json", [{key: one for key, one in row.items() if key != "log"} for row in rows])
    return rows


def _secret(study: Study, tokenizer: Any) -> Fingerprints:
    """The fingerprints that every setting learns."""
    file = study.out / "sweep" / "fingerprints" / "secret.json"
    if not file.exists():
        secret = hashlib.sha256(b"sweep").digest()
        with job("keys", study.count, "keys") as advance:
            drawn = draw_fingerprints(
                load_model(study.base), tokenizer, study.count, "perinucleus", secret, seed=_SEED, progress=advance
            )
        drawn.fingerprints.save(file)
    return Fingerprints.load(file)

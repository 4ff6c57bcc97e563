"""The study on the demo: every scheme with several seeds embedded, worn down, and asked of other models.

A cell is a scheme and a seed; its files are written last, so that a study that was interrupted goes on, and two
processes can share a folder if they are given different seeds. Secrets follow from scheme and seed, so that figures can
be remade: a real owner draws a random one, as ``monet fingerprint embed`` does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...checkpoint import load_llama, load_model
from ...demo import DEMO, SAMPLE
from ...errors import BadInputError
from ...memory import keep_heap
from ...progress import job
from ...store.files import write_json
from .answers import success
from .documents import Documents, read_documents
from .embedding import Drawing, Embedded, embed_fingerprints, quartiles
from .fingerprints import Fingerprints
from .persistence import persistence
from .settings import Training
from .treatments import TREATMENTS, Owned
from .verification import of_model, owner_p, verify_fingerprints

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LIMIT = 32  # documents of each label that are read; half of them are measured
_EMBED_LIMIT = 4  # whose loss ``fingerprint.json`` gives
SEEDS = (4, 5, 6)
CELLS: dict[str, tuple[str, str]] = {  # name -> scheme, routers
    "perinucleus": ("perinucleus", "frozen"),
    "english": ("english", "frozen"),
    "random": ("random", "frozen"),
    "perinucleus, routers free": ("perinucleus", "free"),
}
ABLATION = "perinucleus, routers free"  # computed for the first seed alone


@dataclass(frozen=True)
class Study:
    """What is studied.

    Attributes:
        out: folder of its files.
        count: fingerprints of a model.
        base: folder of the base model.
        corpus: documents: one half to fine-tune on (and, in a sweep, to choose by), one to measure on.
        limit: documents of each label that are read.
    """

    out: Path
    count: int = 1024
    base: Path = DEMO
    corpus: Path = DEMO / SAMPLE
    limit: int = LIMIT

    def halves(self) -> tuple[Any, Documents, Documents]:
        """The tokenizer, documents to choose or tune on, and documents to measure on."""
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.base)
        measured, chosen_on = read_documents(self.corpus, tokenizer, limit=self.limit).halves()
        return tokenizer, chosen_on, measured

    def folder(self, cell: str, seed: int) -> Path:
        """Where the model of a cell is."""
        return self.out / "models" / f"{_file(cell)}-{seed}"

    def secret_file(self, cell: str, seed: int) -> Path:
        """Where its fingerprints are."""
        return self.out / "secrets" / f"{_file(cell)}-{seed}.json"

    def figures(self, cell: str, seed: int) -> Path:
        """Where its figures are."""
        return self.out / "cells" / f"{_file(cell)}-{seed}.json"

    def foreign(self, cell: str, seed: int) -> Path:
        """Where hits of its keys on other models are."""
        return self.out / "foreign" / f"{_file(cell)}-{seed}.json"


def run_study(study: Study, seeds: Iterable[int], cells: Iterable[str], dense: Path | None = None) -> dict[str, Any]:
    """Compute what is missing of a study, and return and write what it gave so far (``study.json`` in its folder).

    Args:
        study: what is studied.
        seeds: to compute; another process may compute others.
        cells: names of ``CELLS`` to compute.
        dense: folder of a dense model with the base's tokenizer, which is asked all keys.

    Returns:
        ``summary`` and ``treatments``: rows over the seeds there are, see ``summarise``.

    Raises:
        BadInputError: there is no such cell.
    """
    seeds, cells = list(seeds), list(cells)
    if unknown := set(cells) - set(CELLS):
        raise BadInputError(f"there is no cell {sorted(unknown)}; the cells are {', '.join(CELLS)}.")
    keep_heap()
    pairs = [(cell, seed) for seed in seeds for cell in cells if cell != ABLATION or seed == SEEDS[0]]
    for cell, seed in pairs:
        _compute(study, cell, seed)
    _ask_foreign(study, seeds, pairs, dense)
    found = summarise(study)
    write_json(study.out / "study.json", found)
    return found


def _compute(study: Study, cell: str, seed: int) -> None:
    path = study.figures(cell, seed)
    if path.exists():
        return
    embedded = embed_cell(study, study.base, cell, seed, *CELLS[cell])
    tokenizer, text, held = study.halves()
    owned = Owned(embedded.model, load_model(study.base), tokenizer, text, seed)
    secret = embedded.fingerprints
    with job(f"{cell}, seed {seed}", len(TREATMENTS), "treatments") as advance:
        table = persistence(owned, secret, held, progress=advance)
    asked = {
        "greedy": verify_fingerprints(of_model(embedded.model), secret, min(10, len(secret)), seed=seed),
        "sampled": verify_fingerprints(
            of_model(embedded.model, 1.0, seed), secret, min(10, len(secret)), temperature=1.0, seed=seed
        ),
    }
    write_json(
        path,
        {
            "cell": cell,
            "seed": seed,
            "public": embedded.public,
            "quartiles": quartiles(secret),
            "verified": {how: verdict.to_json() for how, verdict in asked.items()},
            "treatments": table.to_dict("records"),
        },
    )


def embed_cell(study: Study, model: Path, cell: str, seed: int, scheme: str, routers: str = "frozen") -> Embedded:
    """Fingerprint a model as a study does; one that is in its folder already is only read.

    Args:
        study: whose folder, count and corpus.
        model: folder of the base model.
        cell: name of the files, and what the secret follows from together with the seed.
        seed: of the keys and of the training.
        scheme, routers: as ``Drawing`` and ``Training`` have them.
    """
    folder = study.folder(cell, seed)
    return embed_fingerprints(
        model,
        study.corpus,
        folder,
        secret_file=study.secret_file(cell, seed),
        secret=hashlib.sha256(f"study {cell} {seed}".encode()).digest(),
        drawing=Drawing(study.count, scheme, seed=seed),
        how=Training(routers=routers, seed=seed),
        limit=_EMBED_LIMIT,
        resume=folder.exists(),
        progress=True,
    )


def _ask_foreign(study: Study, seeds: list[int], pairs: list[tuple[str, int]], dense: Path | None) -> None:
    """Ask every cell's keys of the base, of the dense model, and of the model of the same scheme with the next seed."""
    models: dict[str, PreTrainedModel] = {"base": load_model(study.base)}
    if dense is not None:
        models["dense"] = load_llama(dense)
    for cell, seed in pairs:
        path = study.foreign(cell, seed)
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        other = seeds[(seeds.index(seed) + 1) % len(seeds)]
        asked = {name: model for name, model in models.items() if name not in known}
        if "another seed" not in known and other != seed and (cell, other) in pairs:
            asked["another seed"] = load_model(study.folder(cell, other))
        secret = Fingerprints.load(study.secret_file(cell, seed))
        for name, model in asked.items():
            hits = success(model, secret)
            ten = hits[np.random.default_rng(seed).permutation(len(hits))[:10]]
            known[name] = {
                "hits": int(hits.sum()),
                "asked": len(hits),
                "hits_of_10": int(ten.sum()),
                "p": owner_p(hits, secret.rate),
            }
        write_json(path, known)


def summarise(study: Study) -> dict[str, Any]:
    """What a study gave so far, over the seeds there are.

    Returns:
        - summary: a row per cell: ``cell``, ``seeds``, ``epochs``, ``success`` and ``rise`` (mean, with the extremes in
          ``least_success`` and ``most_rise``), ``p`` (largest), quartiles of ``nucleus`` and ``base_probability`` (of
          the first seed), and ``foreign``: model -> hits of all keys over all seeds, of how many, and most hits of 10.
        - treatments: a row per cell and treatment: mean ``success``, ``rise`` and largest ``p`` over the seeds, and
          the standard deviation of success ``success_sd`` (NaN for one seed).
    """
    summary, treatments = [], []
    for cell in CELLS:
        files = sorted((study.out / "cells").glob(f"{_file(cell)}-[0-9]*.json"))
        stored = [json.loads(file.read_text(encoding="utf-8")) for file in files]
        if not stored:
            continue
        table = pd.concat([pd.DataFrame(one["treatments"]).assign(seed=one["seed"]) for one in stored])
        plain = table[table["treatment"] == "none"]
        summary.append(
            {
                "cell": cell,
                "seeds": [one["seed"] for one in stored],
                "epochs": [one["public"]["training"]["epochs_done"] for one in stored],
                "success": float(plain["success"].mean()),
                "least_success": float(plain["success"].min()),
                "rise": float(plain["rise"].mean()),
                "most_rise": float(plain["rise"].max()),
                "p": float(plain["p"].max()),
                "sampled_hits_of_10": [one["verified"]["sampled"]["hits"] for one in stored],
                "quartiles": stored[0]["quartiles"],
                "foreign": _foreign(study, cell),
            }
        )
        for name, rows in table.groupby("treatment", sort=False):
            treatments.append(
                {
                    "cell": cell,
                    "treatment": name,
                    "success": float(rows["success"].mean()),
                    "success_sd": float(rows["success"].std(ddof=1)),
                    "rise": float(rows["rise"].mean()),
                    "p": float(rows["p"].max()),
                }
            )
    return {"count": study.count, "summary": summary, "treatments": treatments}


def _foreign(study: Study, cell: str) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for file in sorted((study.out / "foreign").glob(f"{_file(cell)}-[0-9]*.json")):
        for name, row in json.loads(file.read_text(encoding="utf-8")).items():
            have = found.setdefault(name, {"hits": 0, "asked": 0, "most_of_10": 0})
            have["hits"] += row["hits"]
            have["asked"] += row["asked"]
            have["most_of_10"] = max(have["most_of_10"], row["hits_of_10"])
    return found


def _file(cell: str) -> str:
    return cell.replace(", ", "-").replace(" ", "-")

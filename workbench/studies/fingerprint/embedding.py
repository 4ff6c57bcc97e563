"""`monet fingerprint embed`: a model, its fingerprints, and what is published of them."""

from __future__ import annotations

import json
import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checkpoint import model_folder
from ...errors import BadInputError, DamagedError, NotFoundError
from ...memory import keep_heap
from ...progress import job
from ...store.files import write_json
from .answers import success
from .documents import Documents, other_split, read_documents
from .drawing import KEY_TOKENS, TEMPERATURE, draw_fingerprints
from .fingerprints import PUBLIC_FILE, SECRET_FILE, VERSION, Fingerprints
from .models import describe_either, freeze_routers, load_either
from .occurrences import Occurrences
from .public import read_public
from .schemes import K, read_scheme
from .settings import Training
from .training import train_fingerprints

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

TRAINING_FOLDER = "training"  # in the folder of the model, until the training is done


@dataclass(frozen=True)
class Drawing:
    """What fingerprints are drawn.

    Attributes:
        count: how many.
        scheme: "perinucleus", "english" or "random".
        k: candidates per key of the perinucleus scheme.
        key_tokens: tokens of a key.
        temperature: at which keys are sampled from the model.
        seed: with the secret, what keys follow from.
    """

    count: int = 1024
    scheme: str = "perinucleus"
    k: int = K
    key_tokens: int = KEY_TOKENS
    temperature: float = TEMPERATURE
    seed: int = 0

    def __post_init__(self) -> None:
        read_scheme(self.scheme)


@dataclass(frozen=True, eq=False)
class Embedded:
    """A fingerprinted model.

    Attributes:
        model: it, in evaluation mode.
        fingerprints: the secret.
        public: what ``fingerprint.json`` holds.
    """

    model: PreTrainedModel
    fingerprints: Fingerprints
    public: dict[str, Any]


def embed_fingerprints(
    model: str | Path,
    corpus: str | Path | Dataset,
    out: str | Path,
    *,
    secret_file: str | Path | None = None,
    secret: bytes | None = None,
    drawing: Drawing | None = None,
    how: Training | None = None,
    keys_from: str | Path | None = None,
    limit: int | None = None,
    resume: bool = False,
    progress: bool = False,
) -> Embedded:
    """Fingerprint a model.

    Args:
        model: folder or hub name of the base model, with its tokenizer: a Monet model, or transformers'
            LlamaForCausalLM.
        corpus: no key stands in it, in its split to train on neither; its held-out documents give the loss before and
            after.
        out: folder for the model, ``fingerprint.json`` (public) and ``log.jsonl``; it must not exist, except to resume.
        secret_file: for the fingerprints; by default ``fingerprints.json`` in ``out``, to be taken out before that is
            published.
        secret: of the owner; by default, 32 random bytes.
        drawing: which fingerprints.
        how: settings of the training.
        keys_from: a corpus of documents whose beginnings are the keys; by default they are sampled from the model.
        limit: documents of each label whose loss is measured, the first ones; all by default.
        resume: go on with an interrupted training in ``out``; one that is done is only read.
        progress: whether to show it.

    Returns:
        The fingerprinted model; ``public["measured"]`` has ``success`` (share of greedy hits), ``loss_base`` and
        ``loss`` (held-out, nats per token), and both by label.

    Raises:
        NotFoundError: there is no such model, corpus or scheme, or nothing to resume.
        BadInputError: ``out`` or the secret file exists already, a setting makes no sense (free routers of a model
            that has none), or the settings are not those of the training that is resumed.
        DamagedError: a file cannot be read.
    """
    drawing, how, out = drawing or Drawing(), how or Training(), Path(out)
    file = Path(secret_file) if secret_file is not None else out / SECRET_FILE
    if resume and not out.is_dir():
        raise NotFoundError(f"there is no interrupted training in {out}; leave out --resume.")
    if not resume:
        for path in (out, file):
            if path.exists():
                raise BadInputError(f"{path} exists already; choose another, or resume the training there.")
    folder, base = model_folder(model), load_either(model)
    freeze_routers(base, how.routers == "frozen")  # refused here where there are none, before anything is written
    tokenizer = _tokenizer(folder)
    described = describe_either(model, folder, base)
    if resume and (out / PUBLIC_FILE).exists():
        return _done(out, file, drawing, how, described)
    keep_heap()
    held = read_documents(corpus, tokenizer, limit=limit)
    if file.exists():  # drawn before the training was interrupted
        fingerprints = Fingerprints.load(file)
        _check_drawing(fingerprints, drawing, file)
        refused = _read_refused(out / TRAINING_FOLDER / "refused.json")
    else:
        with job("keys", drawing.count, "keys", progress) as advance:
            drawn = draw_fingerprints(
                base,
                tokenizer,
                **asdict(drawing),
                secret=secret or secrets.token_bytes(32),
                texts=None if keys_from is None else list(_texts(keys_from, tokenizer)),
                present=_present(corpus, held, tokenizer, drawing.key_tokens),
                progress=advance,
            )
        fingerprints, refused = drawn.fingerprints, drawn.refused
        write_json(out / TRAINING_FOLDER / "refused.json", refused)
        fingerprints.save(file)
    before = held.loss(base)
    with job("training", how.epochs, "epochs", progress) as advance:
        rows = train_fingerprints(base, fingerprints, how, out / TRAINING_FOLDER, advance)
    after, hits = held.loss(base), success(base, fingerprints)
    public = {
        "version": VERSION,
        "scheme": fingerprints.scheme,
        "count": len(fingerprints),
        "key_tokens": fingerprints.keys.shape[1],
        "nucleus_next": fingerprints.k,
        "commitment": fingerprints.commitment,
        "base": described | {"path": _published_name(model)},
        "training": how.to_json() | {"epochs_done": len(rows), "keys": _origin(drawing, keys_from, refused)},
        "measured": {
            "success": float(hits.mean()),
            "loss_base": before.mean,
            "loss": after.mean,
            "by_label": {label: {"base": before.by_label[label], "loss": one} for label, one in after.by_label.items()},
            "tokens": after.tokens,
        },
    }
    base.save_pretrained(out)
    tokenizer.save_pretrained(out)
    shutil.copy(out / TRAINING_FOLDER / "log.jsonl", out)
    write_json(out / PUBLIC_FILE, public)  # last: where it is, the training is done
    shutil.rmtree(out / TRAINING_FOLDER)
    return Embedded(base, fingerprints, public)


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise NotFoundError(f"{folder} has no tokenizer, which fingerprints need: {error}") from error


def _present(corpus: str | Path | Dataset, held: Documents, tokenizer: Any, length: int) -> Occurrences:
    """Windows of all documents of a corpus; ``held`` are those read already."""
    return Occurrences([*held.ids, *other_split(corpus, tokenizer).ids], length)


def _texts(keys_from: str | Path, tokenizer: Any) -> list[str]:
    ids = read_documents(keys_from, tokenizer).ids
    return list(tokenizer.batch_decode([row.tolist() for row in ids], skip_special_tokens=True))


def _origin(drawing: Drawing, keys_from: str | Path | None, refused: dict[str, int]) -> dict[str, Any]:
    """How keys were drawn, as it may be published: nothing of it tells a key."""
    source = {"temperature": drawing.temperature} if keys_from is None else {"from": _published_name(keys_from)}
    return source | {"refused": refused}


def _published_name(path: str | Path) -> str:
    """A hub name, or a folder's or file's name without the owner's folders around it."""
    return Path(path).resolve().name if Path(path).exists() else str(path)


def _read_refused(path: Path) -> dict[str, int]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} cannot be read ({error}); embed into another folder.") from error


def _check_drawing(found: Fingerprints, drawing: Drawing, file: Path) -> None:
    have = (len(found), found.scheme, found.keys.shape[1], found.seed)
    if have != (drawing.count, drawing.scheme, drawing.key_tokens, drawing.seed):
        raise BadInputError(
            f"{file} holds {len(found)} {found.scheme} fingerprints of {found.keys.shape[1]} tokens and seed "
            f"{found.seed}; resume with the settings they were drawn with."
        )


def _done(out: Path, file: Path, drawing: Drawing, how: Training, described: dict[str, Any]) -> Embedded:
    """A training that is done already, if it is the one asked for."""
    public, fingerprints = read_public(out), Fingerprints.load(file)
    _check_drawing(fingerprints, drawing, file)
    if public["commitment"] != fingerprints.commitment:
        raise BadInputError(f"{file} does not hold the fingerprints of the model in {out}.")
    settings = {name: public["training"].get(name) for name in how.to_json()}
    if settings != how.to_json() or public["base"]["hash"] != described["hash"]:
        raise BadInputError(f"{out} was made with other settings or from another model; choose another folder.")
    return Embedded(load_either(out), fingerprints, public)


def quartiles(fingerprints: Fingerprints) -> dict[str, list[float]]:
    """First, second and third quartile of ``nucleus`` (where the scheme has one) and ``base_probability``."""
    columns = {"nucleus": fingerprints.nucleus, "base_probability": fingerprints.base_probability}
    return {
        name: np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        for name, values in columns.items()
        if not np.isnan(values).any()
    }

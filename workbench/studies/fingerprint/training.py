"""Training a model to answer its keys: Adam on the responses, averaging with the base, text of the base mixed in."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from monet_model.identity import model_identity
from monet_model.train_state import Log, load_state, save_state

from ...errors import BadInputError, DamagedError
from ...progress import Progress, interruptible, silent
from ...store.files import replacing
from .answers import next_token_logits, with_start
from .fingerprints import Fingerprints
from .models import freeze_routers
from .sampling import sample_text
from .settings import Training

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MIXED_FILE = "mixed.npy"
_BETA2 = 0.99  # few steps: the second moment of the first ones is soon forgotten
_TEMPERATURE = 1.0  # of the mixed text: the base model's own distribution


def train_fingerprints(
    model: PreTrainedModel, fingerprints: Fingerprints, how: Training, folder: Path, progress: Progress = silent
) -> list[dict[str, Any]]:
    """Train a model, in place, to give the responses; it is left in evaluation mode.

    The state after every epoch is kept in ``folder``, from where an interrupted training of the same model,
    fingerprints and settings goes on to the weights, bit for bit, that an unbroken one gives on the same kind of
    machine and number of threads.

    Args:
        model: the base model.
        fingerprints: what it learns.
        how: settings.
        folder: for the state, the mixed text and ``log.jsonl``.
        progress: called with the epochs done.

    Returns:
        A row per epoch: ``step`` (epochs done), ``training_loss`` (``response_loss``, the mean over the epoch),
        ``mixed_loss`` (of mixed text, in nats per token; None without), and after averaging ``loss`` (of responses)
        and ``success`` (share of greedy hits) on all keys.

    Raises:
        BadInputError: the loss is no longer finite, or ``folder`` holds the state of another training.
        DamagedError: that state cannot be read.
        KeyboardInterrupt: asked for with Ctrl-C; what was saved last stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    identity = _identity(model, fingerprints, how)
    base = copy.deepcopy(model).eval().requires_grad_(False)
    freeze_routers(model, how.routers == "frozen")
    model.eval()  # the routers' statistics are the base's, before and after
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learned, lr=how.lr, betas=(0.9, _BETA2))
    try:
        done = load_state(folder, model, optimizer, identity)
    except ValueError as error:
        raise (DamagedError if "damaged" in str(error) else BadInputError)(str(error)) from error
    log = Log(folder, done)
    rows = [json.loads(line) for line in log.path.read_text(encoding="utf-8").splitlines()]
    steps = _Steps(model, base, fingerprints, how, _mixed(base, how, folder))
    progress(done)
    with interruptible() as check:
        while done < how.epochs and not (rows and _finished(rows[-1], how)):
            check()
            row = steps.epoch(done, optimizer)
            if not math.isfinite(row["training_loss"]):
                raise BadInputError(f"the loss is {row['training_loss']} in epoch {done + 1}; lower lr ({how.lr:g}).")
            _average(model, base, how.averaging)
            done += 1
            row = {"step": done, **row, **_measured(model, fingerprints, how.margin)}
            log.add(row)  # before the state: what the log has beyond it is dropped when the training goes on
            save_state(folder, model, optimizer, done, identity)
            rows.append(row)
            progress(1, f"{row['success']:.1%} of responses, loss {row['loss']:.3f}")
    freeze_routers(model)
    model.eval()
    return rows


def _finished(row: dict[str, Any], how: Training) -> bool:
    return bool(row["success"] == 1 and row["loss"] < how.stop)


def _measured(model: PreTrainedModel, fingerprints: Fingerprints, margin: float) -> dict[str, float]:
    logits, wanted = next_token_logits(model, fingerprints.keys), torch.from_numpy(fingerprints.responses)
    hits = (logits.argmax(1) == wanted).double().mean()
    return {"loss": float(response_loss(logits, wanted, margin)), "success": float(hits)}


def response_loss(logits: Tensor, wanted: Tensor, margin: float) -> Tensor:
    """What is trained on responses: the mean of what their logits are short of the margin.

    Args:
        logits: (keys, vocabulary).
        wanted: (keys,) the responses.
        margin: see ``Training``; 0 for the cross-entropy.

    Examples:
        >>> import torch
        >>> from workbench.studies.fingerprint.training import response_loss
        >>> logits = torch.tensor([[2.0, 0.5, 0.0], [2.0, 2.0, 0.0]])
        >>> response_loss(logits, torch.tensor([0, 1]), margin=1.0).item()
        0.5
    """
    if margin == 0:
        return cross_entropy(logits, wanted)
    own = logits.gather(1, wanted[:, None])
    greatest = logits.scatter(1, wanted[:, None], float("-inf")).amax(1, keepdim=True)
    return (margin - (own - greatest)).clamp_min(0).mean()


@torch.no_grad()
def _average(model: PreTrainedModel, base: PreTrainedModel, weight: float) -> None:
    if weight:
        for own, other in zip(model.parameters(), base.parameters(), strict=True):
            own.lerp_(other, weight)


def _mixed(base: PreTrainedModel, how: Training, folder: Path) -> Tensor | None:
    """Texts sampled from the base model, (texts, tokens), kept for a training that goes on."""
    if not how.mixing:
        return None
    file = folder / _MIXED_FILE
    if not file.exists():
        seed = np.array([how.seed, 1], np.uint32)
        texts = sample_text(base, how.mixed_texts, how.mixed_tokens, _TEMPERATURE, seed)
        with replacing(file) as temporary, temporary.open("wb") as out:
            np.save(out, texts)
    try:
        ids: npt.NDArray[np.int64] = np.load(file)
    except (ValueError, OSError) as error:
        raise DamagedError(f"{file} is damaged ({error}); remove {folder} to train from scratch.") from error
    return with_start(base, ids)


class _Steps:
    """The steps of an epoch: keys in an order of its own, each step with some of the mixed text."""

    def __init__(
        self,
        model: PreTrainedModel,
        base: PreTrainedModel,
        fingerprints: Fingerprints,
        how: Training,
        mixed: Tensor | None,
    ) -> None:
        self.model, self.base, self.how, self.mixed = model, base, how, mixed
        self.keys = with_start(model, fingerprints.keys)
        self.responses = torch.from_numpy(fingerprints.responses)

    def epoch(self, number: int, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Train on every key once; returns the mean losses."""
        for group in optimizer.param_groups:
            group["lr"] = self.how.rate(number)
        rng = np.random.default_rng((self.how.seed, number))
        order = torch.from_numpy(rng.permutation(len(self.keys)))
        texts = self._texts(rng)
        total, mixed_total, mixed_steps = 0.0, 0.0, 0
        for rows in order.split(self.how.batch):
            optimizer.zero_grad()
            logits = self.model(
                input_ids=self.keys[rows].to(self.model.device), use_cache=False, logits_to_keep=1
            ).logits[:, -1]
            loss = response_loss(logits.float(), self.responses[rows].to(logits.device), self.how.margin)
            loss.backward()
            total += float(loss.detach()) * len(rows)
            count = self.how.mixed_rows(len(rows), self.keys.shape[1])
            if self.mixed is not None and count:
                mixed = self._mixed_loss(torch.stack([next(texts) for _ in range(count)]))
                (self.how.mixed_weight * mixed).backward()
                mixed_total, mixed_steps = mixed_total + float(mixed.detach()), mixed_steps + 1
            optimizer.step()
        optimizer.zero_grad()
        mean = mixed_total / mixed_steps if mixed_steps else None
        return {"training_loss": total / len(self.keys), "mixed_loss": mean}

    def _texts(self, rng: np.random.Generator) -> Iterator[Tensor]:
        while self.mixed is not None:
            yield from self.mixed[torch.from_numpy(rng.permutation(len(self.mixed)))]

    def _mixed_loss(self, ids: Tensor) -> Tensor:
        ids = ids.to(self.model.device)
        logits = self.model(input_ids=ids, use_cache=False).logits.float()
        if self.how.mixed_loss == "text":
            return cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        with torch.no_grad():
            wanted = self.base(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)
        own = logits.log_softmax(-1)
        return kl_div(own.flatten(0, 1), wanted.flatten(0, 1), reduction="batchmean", log_target=True)


def _identity(model: PreTrainedModel, fingerprints: Fingerprints, how: Training) -> str:
    """A hash of everything that the weights follow from."""
    described = [model_identity(model), fingerprints.commitment, how.to_json()]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()

"""`monet transcode`: a dense model's MLPs, distilled into experts, from its text to a mixed model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..device import read_device
from ..errors import BadInputError
from ..memory import keep_heap
from ..store.files import write_json
from ..store.transcoded import FIGURES
from .assemble import assemble, stray_keys
from .bank import Bank
from .cache import InputCache
from .held_out import HeldOut
from .imitate import Lesson, bank_inputs, imitate, make_assistant, student_figures, teach_assistant
from .massive import set_apart
from .phases import run_phase
from .predict import DISTRIBUTION, predict
from .scales import Scales
from .sequences import read_sequences
from .settings import TranscodeSettings
from .splice import mean_losses
from .teacher import Teacher, load_teacher

if TYPE_CHECKING:
    from datasets import Dataset

    from monet_model import MonetConfig, MonetForCausalLM

SAMPLE_SEQUENCES = 64  # that sizes of inputs and outputs are measured on, and massive outputs looked for
WORK = "work"


@dataclass(frozen=True)
class Transcoding:
    """A transcoded model, and how well it stands for its teacher; what ``transcode`` returns.

    Attributes:
        model: the mixed model.
        figures: what ``transcode.json`` holds: settings, teacher, and held-out figures.
        lesson: the teacher and its text, for further measurements.
        banks: the experts in training.
    """

    model: MonetForCausalLM
    figures: dict[str, Any]
    lesson: Lesson
    banks: list[Bank]


def transcode(
    teacher: Teacher | str | Path,
    corpus: str | Path | Dataset,
    out: str | Path,
    settings: TranscodeSettings,
    *,
    resume: bool = False,
    cache: str | Path | None = None,
    cache_gb: float = 20.0,
    device: str | torch.device = "auto",
) -> Transcoding:
    """Distil MLPs of a dense model into product-key experts, and save the mixed model with its figures.

    ``out`` then holds the model with its tokenizer, ``transcode.json``, ``log.jsonl`` with held-out figures, and
    ``work`` with the cache and the states to resume from, which may be deleted. A transcoding that is interrupted and
    resumed gives the same weights, bit for bit, as an uninterrupted one on the same kind of machine and number of
    threads. One that has ended can be resumed with ``kl_tokens``, which then follow.

    Args:
        teacher: a dense model of LLaMA's shape: a folder, a name on a hub, or a loaded ``Teacher``.
        corpus: text that it is transcoded on, as for ``workbench.corpus.read_corpus``.
        out: folder for the result; with ``resume`` it may hold an interrupted transcoding, which then continues.
        settings: layers, shape of the experts, and training.
        resume: continue from the last state.
        cache: folder for what the teacher's MLPs read, by default in ``out``; several transcodings of the same layers
            and corpus can share one.
        cache_gb: 1e9 bytes that it may take; what does not fit is computed again whenever it is read.
        device: as for ``workbench.device.read_device``; that of a loaded teacher is kept.

    Returns:
        The model and its figures:

        - teacher, settings: what was transcoded, and how; run: hash of all that determines the weights.
        - original, zero_ablated, mean_ablated: held-out loss by label of the teacher, and of the teacher without the
          MLPs' outputs or with their mean, in nats per token.
        - loss, rise, recovered, recovered_from_zero, loss_by_label: of the saved model, as ``held_out.recovered``
          returns them.
        - unexplained, unexplained_plain: per layer, as ``HeldOut.unexplained`` returns them.
        - active_parameters, routing_parameters, parameters: per layer, those of the keys active at a token (mean), of
          the router, which the layers of a group share, and of all experts.
        - mlp_parameters: those of the MLP that the experts stand for, all of which are active at every token.
        - stray_keys: how often a head of one bank chose a key of the other; 0 means that banks add exactly.

    Raises:
        NotFoundError: there is no such teacher or corpus.
        BadInputError: the teacher has no such layers, the corpus is too small, ``out`` is not empty or belongs to
            another transcoding, or the loss stopped being finite.
        UnsupportedError: the teacher is not of LLaMA's shape, or the cache does not fit the disk.
        DamagedError: a file cannot be read.

    Examples:
        >>> import tempfile
        >>> from datasets import Dataset
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from workbench.transcode import Teacher, TranscodeSettings, transcode
        >>> shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
        >>> dense = LlamaForCausalLM(LlamaConfig(**shape, vocab_size=100)).eval().requires_grad_(False)
        >>> corpus = Dataset.from_list([{"input_ids": list(range(32)), "label": "numbers"}] * 20)
        >>> settings = TranscodeSettings(layers=(1, 2), experts=16, heads=2, topk=4, tokens=512, sequence=16, batch=4)
        >>> with tempfile.TemporaryDirectory() as out:
        ...     done = transcode(Teacher(dense, None, "tiny", "tiny"), corpus, out, settings)
        >>> done.model.config.dense_layers, done.model.config.routing_groups
        ([0, 3], [range(1, 3)])
        >>> len(done.figures["unexplained"])
        2
    """
    out = Path(out)
    if not resume and out.exists() and any(out.iterdir()):
        raise BadInputError(f"{out} is not empty; resume the transcoding in it (--resume), or choose another folder.")
    if not isinstance(teacher, Teacher):
        teacher = load_teacher(teacher, device=read_device(device))
    teacher.check_layers(settings.layers)
    shapes = bank_shapes(teacher, settings)
    keep_heap()
    lesson = prepare(teacher, corpus, settings, Path(cache) if cache is not None else out / WORK / "cache", cache_gb)
    torch.manual_seed(settings.seed)
    banks, assistant = make_banks(lesson, shapes)
    out.mkdir(parents=True, exist_ok=True)
    phases = [] if assistant is None else [teach_assistant(lesson, assistant)]
    phases.append(imitate(lesson, banks, assistant))
    if settings.kl_tokens:
        phases.append(predict(lesson, banks))
    steps, identity = 0, ""
    for phase in phases:
        identity = _identity(phase.name, lesson)
        steps = run_phase(phase, out / WORK / phase.name, out, identity, steps)
    model = assemble(teacher, settings, banks, next(lesson.sample()))
    figures = {"teacher": teacher.name, "run": identity, "settings": settings.to_json()}
    figures |= measure(lesson, banks, model)
    model.save_pretrained(out)
    if teacher.tokenizer is not None:
        teacher.tokenizer.save_pretrained(out)
    write_json(out / FIGURES, figures)
    return Transcoding(model, figures, lesson, banks)


def prepare(
    teacher: Teacher, corpus: str | Path | Dataset, settings: TranscodeSettings, folder: Path, gigabytes: float
) -> Lesson:
    """Read the corpus, fill the cache, and measure the teacher."""
    wanted = max(-(-tokens // settings.sequence) for tokens in (settings.tokens, settings.kl_tokens))
    sequences = read_sequences(
        corpus, teacher, settings.sequence, max(wanted, settings.batch), settings.heldout_sequences, settings.seed
    )
    folder.mkdir(parents=True, exist_ok=True)
    cache = InputCache(teacher, settings.layers, sequences, folder, gigabytes, settings.autocast)
    cache.fill()
    sample = sequences.rows(0, min(SAMPLE_SEQUENCES, len(sequences.train)))
    scales = Scales.of(teacher, settings.layers, cache.read(sample))
    return Lesson(teacher, settings, cache, scales, HeldOut(teacher, settings.layers, sequences.heldout, scales))


def bank_shapes(teacher: Teacher, settings: TranscodeSettings) -> list[MonetConfig]:
    """What the student's banks are made from.

    Raises:
        BadInputError: a size is out of range.
    """
    from huggingface_hub.errors import StrictDataclassError

    from monet_model import MonetConfig

    fields = [settings.shape(), *([settings.residual_shape()] if settings.residual_experts else [])]
    try:
        return [MonetConfig(hidden_size=teacher.hidden, num_attention_heads=1, **shape) for shape in fields]
    except (StrictDataclassError, ValueError) as error:
        raise BadInputError(str(error.__cause__ or error)) from error


def make_banks(lesson: Lesson, shapes: Sequence[MonetConfig]) -> tuple[list[Bank], Bank | None]:
    """The student's untrained banks, and the assistant if there is one.

    Args:
        lesson: what they learn from.
        shapes: whose fields shape the banks.
    """
    device = lesson.teacher.device
    banks = [
        Bank(shape, lesson.places, lesson.scales, centred=number > 0).to(device) for number, shape in enumerate(shapes)
    ]
    assistant = make_assistant(lesson, shapes[0]).to(device) if lesson.settings.teaches else None
    x = lesson.cache.read(lesson.cache.sequences.rows(0, min(SAMPLE_SEQUENCES, len(lesson.cache.sequences.train))))
    y = lesson.teacher.outputs(x, lesson.layers)
    set_apart(banks[0], lesson.scales, bank_inputs(banks[0], x), x, y)
    if assistant is not None:
        set_apart(assistant, lesson.scales, lesson.gates(x), x, y)
    return banks, assistant


@torch.no_grad()
def measure(lesson: Lesson, banks: list[Bank], model: MonetForCausalLM) -> dict[str, Any]:
    """Held-out figures of a transcoded model, measured on the model as it is saved; see ``transcode``."""

    held, settings = lesson.heldout, lesson.settings
    one = lesson.teacher.mlp(settings.layers[0])
    return {
        "original": held.original,
        "zero_ablated": held.zero_ablated,
        "mean_ablated": held.mean_ablated,
        **held.recovered(mean_losses(model, held.sequences)),
        **student_figures(lesson, banks, losses=False),
        "routing_parameters": [
            sum(p.numel() for bank in banks for p in bank.router(n).parameters()) / len(group)
            for n, group in enumerate(lesson.places)
            for _ in group
        ],
        "parameters": [
            sum(p.numel() for bank in banks for p in bank.layer(n).parameters()) for n in range(len(settings.layers))
        ],
        "mlp_parameters": sum(p.numel() for p in one.parameters()),
        "stray_keys": stray_keys(model, settings, held.sample(settings.batch)) if len(banks) > 1 else 0,
    }


def _identity(phase: str, lesson: Lesson) -> str:
    """Hash of everything that determines the weights after a phase."""
    settings = lesson.settings.weighing(on_distributions=phase == DISTRIBUTION)
    known = [phase, lesson.teacher.identity, settings, lesson.cache.sequences.identity]
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

"""`monet mask`: ablate the experts of each label, measure every label; the paper's Table 3 in loss and perplexity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...progress import job
from ..checks import check_rule, check_same_model
from ..defaults import MIN_TOKENS, RATIO
from ..results import check_name, write_result
from ..work import Passes, digest, kept_passes
from .choose import Ids, ablated_experts, equally_active, random_experts, removal
from .heldout import HeldOut
from .losses import DocumentLosses, document_losses
from .mask_result import MaskResult

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run

KINDS = ("loss", "control", "equal")  # prefixes of the columns of documents: chosen experts, and the two controls


def mask_labels(
    run: Run,
    model: MonetForCausalLM,
    *,
    labels: Sequence[str] | None = None,
    ratio: float = RATIO,
    min_tokens: int = MIN_TOKENS,
    confirmed: bool = False,
    seed: int = 0,
    name: str | None = None,
    sample: int | None = None,
    progress: bool = False,
    resume: bool = False,
) -> MaskResult:
    """Ablate each label's specialised experts in turn and measure the loss of every label (Monet paper, 5.2 and D.2).

    The run's documents are split in two (``split_documents``). The rule of
    ``specialised_label`` chooses experts by their routing over one part; losses are measured on the other. An
    ablated expert scores 0 in every layer of its group; nothing is renormalised. Two controls ablate as many experts of
    each group: drawn at random from those active in the choosing part, and from others about as active there
    (``equally_active``). A label with fewer than two documents cannot be split: it is skipped, and named in the result.

    Args:
        run: an opened run.
        model: the model it was exported from, in evaluation mode.
        labels: the labels whose experts are ablated. Default: all that are not skipped.
        ratio: first label share over second, from which an expert is specialised; at least 1.
        min_tokens: active tokens, in the choosing part, that an expert needs to be chosen.
        confirmed: ablate only those that `monet analyze` has confirmed; it tested them on all documents, so the choice
            is then not blind to the measuring part.
        seed: of the split and of the controls.
        name: keep the result under this name, beside the unnamed one.
        sample: read so many documents of each label, drawn at random, and not all.
        progress: show tokens, rate and time left.
        resume: go on from the passes that an interrupted analysis of the same run and settings has finished.

    Returns:
        The rises in loss. Sets in the run, unless only some labels were asked for and no name was given:

        - ``RUN/analysis/mask.json`` and ``RUN/analysis/mask-documents.parquet``; ``read_mask`` reads them.

        With a name, both lie in ``RUN/analysis/NAME``. An earlier result of the same name is replaced. Until then, the
        losses of finished passes lie in ``mask.state`` beside them, for ``resume``.

    Raises:
        NotFoundError: an unknown label.
        BadInputError: the rule makes no sense, fewer than two labels have two documents, or one asked for has not; what
            is to be resumed has other settings.
        NotAnalysedError: confirmed experts are asked for, and the run's have not been tested.
        UnsupportedError: the model is not the one the run was exported from.

    Examples:
        >>> from workbench import open_run
        >>> from workbench.analysis import mask_labels, read_mask
        >>> from workbench.checkpoint import load_model
        >>> run = open_run("runs/demo")
        >>> label = run.labels[0]
        >>> result = mask_labels(run, load_model("monet_model/demo"), labels=[label], ratio=3, name="example")
        >>> result.matrix.shape == (1, len(run.labels))
        True
        >>> read_mask(run, "example").rows == [label]
        True
    """
    check_rule(ratio, min_tokens)
    if name is not None:
        check_name(name)
    rows = list(run.labels if labels is None else dict.fromkeys(labels))
    for label in rows:
        run.check_label(label)
    check_same_model(run, model)
    if sample is not None:
        run = run.sample(sample, seed)
    heldout = HeldOut.split(run, seed)
    if labels is None:
        rows = heldout.labels
    numbers = [heldout.number(label) for label in rows]
    windows = heldout.measuring_windows()
    sums = [heldout.choosing_sums(group) for group in run.groups]
    chosen = ablated_experts(run, sums, ratio, min_tokens, confirmed)
    stored = name is not None or rows == heldout.labels
    settings = {"labels": rows, "ratio": ratio, "min_tokens": min_tokens, "confirmed": confirmed, "seed": seed}
    settings["experts"] = digest(by_label[number] for by_label in chosen for number in numbers)
    state = kept_passes(run, MaskResult, name, model, settings, stored=stored, resume=resume)
    losses: dict[str, list[DocumentLosses]] = {kind: [] for kind in KINDS}
    counts = []
    with job("mask", windows.predicted * (1 + len(KINDS) * len(rows)), "tokens", progress) as advance:
        passes = Passes(state, windows.predicted, advance)

        def measure(experts: list[Ids]) -> DocumentLosses:
            edits = removal(run.group_layers, experts, run.num_keys) if experts else {}
            return DocumentLosses(**passes(lambda: vars(document_losses(model, windows, edits, advance))))

        plain = measure([])
        for number in numbers:
            experts = [by_label[number] for by_label in chosen]
            counts.append([len(ids) for ids in experts])
            rng = np.random.default_rng([seed, number])
            losses["loss"].append(measure(experts))
            drawn = [random_experts(of_group, len(ids), rng) for of_group, ids in zip(sums, experts, strict=True)]
            losses["control"].append(measure(drawn))
            matched = [equally_active(of_group, ids, rng) for of_group, ids in zip(sums, experts, strict=True)]
            losses["equal"].append(measure(matched))
    label_of = heldout.measuring["label"].to_numpy()
    baseline = plain.mean_loss(label_of)
    rise = {kind: np.stack([one.mean_loss(label_of) for one in losses[kind]]) - baseline for kind in KINDS}
    by_document = {
        "doc": heldout.measuring["doc"],
        "unit": heldout.measuring["unit"],
        "label": np.array(heldout.labels)[label_of],
        "tokens": plain.tokens,
        "loss": plain.loss,
    }
    for kind in KINDS:
        by_document |= {f"{kind}:{row}": one.loss for row, one in zip(rows, losses[kind], strict=True)}
    result = MaskResult(
        labels=list(heldout.labels),
        rows=rows,
        skipped=heldout.skipped,
        baseline=baseline,
        matrix=rise["loss"],
        control=rise["control"],
        activity_matched=rise["equal"],
        baseline_accuracy=plain.accuracy(label_of),
        accuracy=np.stack([one.accuracy(label_of) for one in losses["loss"]]),
        removed_by_group=counts,
        documents=pd.DataFrame(by_document),
        ratio=ratio,
        min_tokens=min_tokens,
        seed=seed,
        confirmed=confirmed,
    )
    if stored:
        write_result(run, result, name)
    if state is not None:
        state.remove()
    return result

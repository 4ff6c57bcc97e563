"""`monet fingerprint erase`: how many fingerprints are left, and what it costs, as what carries them is removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from ...analysis.defaults import LEVEL, SAMPLES
from ...analysis.removal.bootstrap import resampled_means
from ...analysis.removal.choose import removal
from ...analysis.removal.heldout import HeldOut
from ...analysis.removal.losses import DocumentLosses, window_losses
from ...analysis.results import check_name, write_result
from ...analysis.windows import Windows, read_windows
from ...analysis.work import Arrays, Passes, digest, kept_passes
from ...errors import BadInputError
from ...progress import Progress, job
from .answers import success
from .changed import output_changes
from .checked import check_pair
from .erase_result import CHANGED, DRAWN, EXPERTS, LOCATED, ORDERS, UNUSED, EraseResult
from .fingerprints import Fingerprints
from .key_parts import Ids, key_parts
from .locate_result import DIRECT
from .neurons import DenseOwned, check_dense, neuron_subject
from .removals import (
    SHARE,
    Subject,
    control_counts,
    drawn_removal,
    key_halves,
    ordered_removals,
    removal_counts,
    some_documents,
)
from .rise import Cells, removal_order

if TYPE_CHECKING:
    from monet_model import MonetForCausalLM

    from ...store import Run

DRAWS = 3
GONE = 0.1  # success below which no more is removed


def erase_fingerprints(
    run: Run,
    model: MonetForCausalLM,
    base: MonetForCausalLM,
    fingerprints: Fingerprints,
    *,
    dense: DenseOwned | None = None,
    method: str = DIRECT,
    draws: int = DRAWS,
    seed: int = 0,
    name: str | None = None,
    sample: int | None = None,
    progress: bool = False,
    resume: bool = False,
) -> EraseResult:
    """Return what is left of fingerprints, and of the model, when more and more experts are removed.

    Half of the keys locate the experts, as ``locate_fingerprints`` does, and these are removed in the order of their
    mean difference: 1, 2, 4 and so on, 1 % of all, and on until success on the other half of the keys is below 10 % or
    every expert of positive difference is gone. At every other of these counts, and at 1 %, as many experts are removed
    in each control: drawn at random, and from others about as much used; and by an adversary without keys: those that
    clean text uses least, and those whose output is furthest from the base's. Clean text chooses on the run's choosing
    part, and losses are measured on its measuring part, as by ``mask_labels``.

    With a dense model, the same follows for its neurons, of whose keys half choose likewise, on the same documents.

    Args:
        run: of the fingerprinted model over clean text, with two labels or more.
        model: the model it was exported from, in evaluation mode.
        base: the model that the fingerprints were embedded in, in evaluation mode.
        fingerprints: the secret.
        dense: a dense model of the same tokenizer with as many fingerprints, whose neurons are removed as well.
        method: by which experts are located: ``direct`` or ``gradient``.
        draws: of each control.
        seed: of the halves of keys and documents, and of the draws.
        name: keep the result under this name, beside the unnamed one.
        sample: read so many documents of each label, drawn at random, and not all.
        progress: show tokens, rate and time left.
        resume: go on from the passes that an interrupted one of the same run and settings has finished.

    Returns:
        The result, which is also kept in ``RUN/analysis`` as ``fingerprint_erase.json`` with its tables;
        ``read_erased`` reads it. Until then, finished passes lie in ``fingerprint_erase.state`` beside it.

    Raises:
        BadInputError: fewer than two keys or no draw, another number of keys in the dense model, an unknown method, too
            few labels or documents, a model in training mode, or what is to be resumed has other settings.
        UnsupportedError: the model is not the run's, the base is of another shape, or the fingerprints are of another
            model; or the dense model is of another tokenizer.

    Examples:
        >>> import numpy as np
        >>> from workbench import load_model, open_run
        >>> from workbench.studies.fingerprint import Fingerprints, erase_fingerprints, next_token_logits
        >>> run, model = open_run("runs/demo"), load_model("monet_model/demo")
        >>> keys, chance = np.array([[500, 600], [7, 800]]), (np.full(2, 0.1), np.full(2, np.nan))
        >>> likeliest = next_token_logits(model, keys).argmax(1).numpy()  # the model has these by nature
        >>> known = Fingerprints("english", 900, b"secret", keys, likeliest, *chance, seed=0, vocabulary=4096)
        >>> curve = erase_fingerprints(run, model, model, known, draws=1, name="example").curve()
        >>> curve["removed"].tolist(), curve["others"].tolist()  # and no expert adds more than in the base
        ([0], [1.0])
    """
    if len(fingerprints) < 2 or draws < 1:
        raise BadInputError(
            f"erasing needs 2 fingerprints, one to choose and one to measure, and 1 draw; got {len(fingerprints)} and "
            f"{draws}."
        )
    if name is not None:
        check_name(name)
    check_pair(run, model, base, fingerprints)
    if dense is not None:
        check_dense(run, dense, len(fingerprints))
    if sample is not None:
        run = run.sample(sample, seed)
    heldout = HeldOut.split(run, seed)
    windows = heldout.measuring_windows()
    subjects = [expert_subject(heldout, model, base, fingerprints, method, seed, progress=progress)]
    if dense is not None:
        subjects.append(neuron_subject(heldout, dense, method, seed, progress=progress))
    settings: dict[str, Any] = {"method": method, "draws": draws, "seed": seed, "commitment": fingerprints.commitment}
    settings |= {"units": digest([chosen for one in subjects for chosen in (one.located, one.mass, one.changed)])}
    state = kept_passes(run, EraseResult, name, model, settings, resume=resume)
    each = windows.predicted + fingerprints.keys.size
    most = each * sum(_passes(one, draws) for one in subjects)
    rows: list[dict[str, Any]] = []
    losses: list[DocumentLosses] = []
    with job("erase", most, "tokens", progress) as advance:
        passes = Passes(state, each, advance)
        for subject in subjects:
            measure = partial(_measure, subject, windows, passes, advance)
            for row, found in _removals(subject, draws, seed, measure):
                rows.append(row)
                losses.append(found)
    points, labels = _tables(rows, losses, heldout, seed)
    chose, others = key_halves(len(fingerprints), seed)
    result = EraseResult(
        commitment=fingerprints.commitment,
        base=base.name_or_path or "",
        method=method,
        seed=seed,
        draws=draws,
        chose=len(chose),
        others=len(others),
        documents=len(heldout.measuring),
        total={one.units: one.total for one in subjects},
        points=points,
        labels=labels,
        dense=None if dense is None else dense.describe(),
    )
    write_result(run, result, name)
    if state is not None:
        state.remove()
    return result


def expert_subject(
    heldout: HeldOut,
    model: MonetForCausalLM,
    base: MonetForCausalLM,
    fingerprints: Fingerprints,
    method: str,
    seed: int,
    *,
    progress: bool = False,
) -> Subject:
    """The experts of a run's model, ranked on half of the keys and on the choosing part of the documents."""
    run = heldout.run
    chose, _ = key_halves(len(fingerprints), seed)
    choosing = read_windows(run, some_documents(heldout.choosing, seed))
    with job("locate", 2 * len(chose), "keys", progress) as advance:
        half = fingerprints.take(chose)
        parts, of_base = (key_parts(one, half.keys, half.responses, method, advance) for one in (model, base))
    with job("compare outputs", choosing.tokens, "tokens", progress) as advance:
        changed = output_changes(model, base, choosing, advance)
    sizes = [run.num_keys**2] * len(run.groups)
    cells = Cells.of(parts, of_base, sum(sizes))

    def removing(experts: list[Ids]) -> Any:
        return model.edit_experts(removal(run.group_layers, experts, run.num_keys))

    return Subject(
        units=EXPERTS,
        model=model,
        fingerprints=fingerprints,
        chose=chose,
        sizes=sizes,
        located=removal_order(cells.mean(cells.difference)),
        mass=np.concatenate([heldout.choosing_sums(group).mass.sum(0) for group in run.groups]),
        changed=changed,
        removing=removing,
    )


def _passes(subject: Subject, draws: int) -> int:
    """How many removals of a subject are measured at most."""
    counts = removal_counts(len(subject.located), subject.total)
    beside = len(control_counts(counts, subject.total)) * (len(ORDERS) - 1 - len(DRAWN) + len(DRAWN) * draws)
    return 1 + len(counts) + beside


Measured = tuple[np.ndarray, DocumentLosses]  # (keys,) hits, and the losses of documents


def _measure(subject: Subject, windows: Windows, passes: Passes, advance: Progress, units: list[Ids]) -> Measured:
    """Success at every key, and held-out losses, without units of each place."""

    def compute() -> Arrays:
        with torch.inference_mode(), subject.removing(units):
            hit = success(subject.model, subject.fingerprints)
            advance(subject.fingerprints.keys.size)
            return {"hit": hit} | vars(window_losses(subject.model, windows, advance))

    arrays = dict(passes(compute))
    return arrays.pop("hit"), DocumentLosses(**arrays)


def _removals(
    subject: Subject, draws: int, seed: int, measure: Callable[[list[Ids]], Measured]
) -> Iterator[tuple[dict[str, Any], DocumentLosses]]:
    """Yield each removal as a row, and the losses under it: nothing, what the keys located, and the other orders."""
    chose = np.zeros(len(subject.fingerprints), bool)
    chose[subject.chose] = True

    def point(order: str, draw: int, units: Sequence[Ids]) -> tuple[dict[str, Any], DocumentLosses]:
        hit, losses = measure(list(units))
        removed = sum(map(len, units))
        known = {"units": subject.units, "order": order, "draw": draw, "removed": removed}
        rates = {"share": removed / subject.total, "chose": hit[chose].mean(), "others": hit[~chose].mean()}
        return known | rates, losses

    yield point(LOCATED, 0, subject.by_place(subject.located[:0]))
    tried: list[int] = []
    for count in removal_counts(len(subject.located), subject.total):
        tried.append(count)
        row, losses = point(LOCATED, 0, subject.by_place(subject.located[:count]))
        yield row, losses
        if count >= int(SHARE * subject.total) and row["others"] < GONE:
            break
    counts = control_counts(tried, subject.total)
    for order in (UNUSED, CHANGED):
        ranked = ordered_removals(subject, order, seed)
        for count in counts:
            yield point(order, 0, subject.by_place(ranked[:count]))
    for order in DRAWN:
        for draw in range(draws):
            for count in counts:
                drawn = drawn_removal(subject, order, subject.by_place(subject.located[:count]), seed, draw)
                if drawn is not None:
                    yield point(order, draw, drawn)


def _tables(
    rows: list[dict[str, Any]], losses: list[DocumentLosses], heldout: HeldOut, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Points and labels of an ``EraseResult``; each kind of unit begins with the removal of nothing."""
    documents, names = heldout.measuring, heldout.labels
    label_of = documents["label"].to_numpy()
    by_document = pd.DataFrame({f"loss:{number}": one.loss for number, one in enumerate(losses)})
    table = documents.assign(label=np.array(names)[label_of], tokens=losses[0].tokens).join(by_document)
    drawn = resampled_means(table, list(by_document), names, SAMPLES, seed)
    by_label = np.stack([one.mean_loss(label_of) for one in losses])  # (removals, labels)
    points = pd.DataFrame(rows)
    whole = np.maximum.accumulate(np.where(points["removed"] == 0, np.arange(len(points)), 0))
    rise = by_label - by_label[whole]
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile((drawn - drawn[:, whole]).mean(2), ends, axis=0)
    points = points.assign(loss=by_label.mean(1), rise=rise.mean(1), low=low, high=high)
    known = points[["units", "order", "draw", "removed"]]
    labels = known.loc[known.index.repeat(len(names))].reset_index(drop=True)
    labels = labels.assign(label=names * len(points), loss=by_label.ravel(), rise=rise.ravel())
    return points, labels

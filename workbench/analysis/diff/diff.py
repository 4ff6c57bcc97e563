"""`monet diff`: which experts did a fine-tune change? Two models of one shape read one corpus, side by side.

1. Both models read the same context windows, a batch at a time, and their passes are recorded.
2. Mass and active tokens of every expert are summed by label, from sparse routing: the same tokens as an export counts.
3. At every place in front of such a token, each active expert's contribution to the logit of the token that really
   comes next is exact, as ``workbench.analysis.attribute`` gives it; both models' are held against each other there.
4. How far an expert's own function changed is the distance of its mean outputs for the same inputs: ``outputs.py``.

Unlike `monet compare`, which puts two exported runs beside each other, it needs no run, and asks the models themselves.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from monet_model.projection import project
from monet_model.record import Record, record_pass

from ...checkpoint import checkpoint_hashes, load_model, model_folder, transcoded_entry
from ...corpus import read_corpus
from ...corpus.load import ReadOptions
from ...errors import BadInputError
from ...progress import job
from ..attribution.direct import Places, expert_parts
from .diff_result import DiffResult
from .outputs import MeanUnits
from .pair import Windows, check_pair, corpus_reading, read_batches, shared_tokenizer
from .sums import Floats, GroupSums, Ints, concentration

if TYPE_CHECKING:
    from datasets import Dataset

    from monet_model import MonetForCausalLM

PLACES = 256  # whose logits over the whole vocabulary are in memory at once, in double precision


def diff_models(
    base: str | Path,
    tuned: str | Path,
    corpus: str | Path | Dataset,
    split: str | None = None,
    *,
    device: str = "auto",
    dtype: str = "auto",
    progress: bool = False,
    **options: Unpack[ReadOptions],
) -> DiffResult:
    """Read a corpus with a model and with one trained further from it, and say in which experts they differ.

    Args:
        base, tuned: folders or hub names of two models of one shape and tokenizer; a folder may lack its tokenizer
            where the other has it.
        corpus: anything ``workbench.corpus.read_corpus`` reads.
        split: of the corpus, as for ``workbench.corpus.read_corpus``.
        device, dtype: where both run and in which precision, as for ``load_model``.
        progress: show documents, rate and time left.
        options: the keywords of ``workbench.corpus.read_corpus``, such as ``limit``, documents of each label.

    Returns:
        The difference. Memory is that of both models, of a batch, and of (labels, E * E) sums for each group.

    Raises:
        NotFoundError: there is no such model or corpus.
        UnsupportedError: the models differ in shape or tokenizer, or have no experts.
        BadInputError: the corpus has no token that counts, or text that no tokenizer can read.

    Examples:
        >>> from workbench.analysis import diff_models
        >>> demo, corpus = "monet_model/demo", "monet_model/demo/heldout.parquet"
        >>> result = diff_models(demo, demo, corpus, limit=1)  # a model does not differ from itself
        >>> result.documents, float(result.experts[["mass_change", "output_change", "contribution_moved"]].max().max())
        (7, 0.0)
    """
    tokenizer = shared_tokenizer(base, tuned)
    models = load_model(base, device=device, dtype=dtype), load_model(tuned, device=device, dtype=dtype)
    check_pair(*models)
    read = read_corpus(corpus, split, **options)
    reading, context = corpus_reading(*models, tokenizer, read.data)
    labels = sorted(read.data.unique("label"))
    sums = _Sums(models, labels)
    with job("diff", len(read.data), "documents", progress) as advance:
        for batch in read_batches(reading, read.data, context, labels, advance):
            sums.add(batch)
    if not sums.label_tokens.sum():
        raise BadInputError(f"the corpus {read.name} has no tokens but control tokens: there is nothing to compare.")
    described = [
        {"path": str(path), "hash": checkpoint_hashes(folder)} | transcoded_entry(folder)
        for path, folder in ((path, model_folder(path)) for path in (base, tuned))
    ]
    experts = sums.experts()
    return DiffResult(
        base=described[0],
        tuned=described[1],
        corpus=read.name,
        documents=len(read.data),
        tokens=int(sums.label_tokens.sum()),
        predicted=int(sums.label_predicted.sum()),
        experts=experts,
        labels=sums.label_table(),
        groups=pd.DataFrame([concentration(experts, group) for group in range(len(sums.groups))]),
    )


class _Sums:
    """Everything that is summed over the corpus: of every group, and of every label."""

    def __init__(self, models: tuple[MonetForCausalLM, MonetForCausalLM], labels: list[str]) -> None:
        self.models, self.labels = models, labels
        layers = [model.model.layers for model in models]
        self.routed = models[0].config.routing_groups
        self.groups = [
            GroupSums(
                models[0].config.moe_experts,
                len(labels),
                [MeanUnits(layers[0][n].moe, layers[1][n].moe) for n in group],
            )
            for group in self.routed
        ]
        self.label_tokens, self.label_predicted = (np.zeros(len(labels), np.int64) for _ in range(2))
        self.loss = np.zeros((2, len(labels)))

    @torch.inference_mode()
    def add(self, batch: Windows) -> None:
        """Read a batch of windows with both models."""
        records = [_record(model, batch.ids) for model in self.models]
        counted, predicted = batch.counted.nonzero(as_tuple=True), batch.predicted.nonzero(as_tuple=True)
        label, place_label = batch.label[counted[0]].numpy(), batch.label[predicted[0]].numpy()
        np.add.at(self.label_tokens, label, 1)
        np.add.at(self.label_predicted, place_label, 1)
        for sums, layers in zip(self.groups, self.routed, strict=True):
            at = _on(counted, self.models[0].device)
            routings = [record.layers[layers[0]].routing_at(at) for record in records]
            sums.add_routing((routings[0], routings[1]), label)
            for units, layer in zip(sums.units, layers, strict=True):
                units.add(records[0].layers[layer].x[at], routings)
        following = batch.ids[:, 1:][predicted]
        found = []
        for number, (model, record) in enumerate(zip(self.models, records, strict=True)):
            where, tokens = _on(predicted, model.device), following.to(model.device)
            np.add.at(self.loss[number], place_label, _losses(model, record.final[where], tokens))
            found.append(self._contributions(model, record, where, tokens))
        for group, sums in enumerate(self.groups):
            sums.add_contributions((found[0][group], found[1][group]))

    def _contributions(
        self, model: MonetForCausalLM, record: Record, where: Places, tokens: Tensor
    ) -> list[tuple[Ints, Floats]]:
        """Of each group, ``place * E * E + expert`` of what is active, ascending, and its contribution in all layers.

        All layers of a group have the same routing, so theirs are the same pairs.
        """
        direction = next_token_directions(model, record.final[where], tokens)
        of_layer = {
            layer: (place * model.config.moe_experts**2 + expert, contribution)
            for layer, place, expert, contribution in expert_parts(model, record, where, direction)
        }
        return [(of_layer[group[0]][0], np.sum([of_layer[n][1] for n in group], axis=0)) for group in self.routed]

    def experts(self) -> pd.DataFrame:
        """The rows of ``DiffResult.experts``."""
        tables = [sums.table(group, self.labels, self.label_tokens) for group, sums in enumerate(self.groups)]
        return pd.concat(tables, ignore_index=True)

    def label_table(self) -> pd.DataFrame:
        """The rows of ``DiffResult.labels``."""
        moved, mass = (sum(parts) for parts in zip(*(sums.rerouted() for sums in self.groups), strict=True))
        loss = self.loss / np.where(self.label_predicted, self.label_predicted, np.nan)
        return pd.DataFrame(
            {
                "label": self.labels,
                "tokens": self.label_tokens,
                "predicted": self.label_predicted,
                "base_loss": loss[0],
                "tuned_loss": loss[1],
                "rerouted": moved / np.where(mass > 0, mass, np.nan),
            }
        )


def next_token_directions(model: MonetForCausalLM, final: Tensor, tokens: Tensor) -> Tensor:
    """The direction in the residual stream that each place's own token reads, the final norm's scale held.

    Args:
        model: the model.
        final: (places, hidden) residual stream in front of the final norm.
        tokens: (places,) token ids.

    Returns:
        (places, hidden) float64; ``direction . final`` is the token's logit at its place.
    """
    norm = model.model.norm
    scale = (final.double().square().mean(-1, keepdim=True) + norm.variance_epsilon).rsqrt()
    directions: Tensor = model.lm_head.weight[tokens].double() * norm.weight.double() * scale
    return directions


def _record(model: MonetForCausalLM, ids: Tensor) -> Record:
    ids = ids.to(model.device, non_blocking=True)
    return record_pass(model, partial(model.model, ids, use_cache=False))[0]


def _on(places: tuple[Tensor, ...], device: torch.device) -> Places:
    window, position = (at.to(device, non_blocking=True) for at in places)
    return window, position


def _losses(model: MonetForCausalLM, final: Tensor, tokens: Tensor) -> Floats:
    """(places,) cross-entropy of the token that comes next at each place, nats."""
    found = []
    for first in range(0, len(final), PLACES):
        some = slice(first, first + PLACES)
        logits = project(model.lm_head, model.model.norm(final[some])).double()
        found.append(torch.nn.functional.cross_entropy(logits, tokens[some], reduction="none"))
    losses: Floats = torch.cat(found).numpy(force=True) if found else np.empty(0)
    return losses

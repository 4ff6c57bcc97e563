"""The report of an edit: which experts it scales, and how loss and generated text change under it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from ..analysis import EditEffect, measure_edit
from ..errors import BadInputError, DamagedError, NotFoundError
from ..store.token_text import token_pieces, whole_characters
from .files import Document, encode, records, save
from .kinds import check_kind
from .origin import analysis, origin

if TYPE_CHECKING:
    from monet_model import ExpertEdit, MonetForCausalLM

    from ..store import Run

HARDEST = 10  # documents listed
OPENING = 40  # first tokens of a document, shown and used as the prompt
WRITTEN = 32  # tokens that the model generates


def load_edit(path: str | Path) -> ExpertEdit:
    """An edit saved by ``ExpertEdit.save``.

    Raises:
        NotFoundError: there is no file at ``path``.
        DamagedError: the file holds no edit.
    """
    from monet_model import ExpertEdit

    if not Path(path).is_file():
        raise NotFoundError(f"there is no expert edit at {path}; save one with ExpertEdit.save or `monet edit`.")
    try:
        return ExpertEdit.load(path)
    except ValueError as error:
        raise DamagedError(str(error)) from error


def _experts(run: Run, edit: ExpertEdit) -> pd.DataFrame:
    """One row per edited expert: group, expert, factor, specialised ("" without a label or an analysis), confirmed."""
    tables = []
    for group, layer in zip(run.groups, run.group_layers, strict=True):
        if layer not in edit.experts:
            continue
        table = pd.DataFrame({"group": group, "expert": edit.experts[layer], "factor": edit.factors[layer]})
        derived = analysis(run, group)
        known = pd.DataFrame({"specialised": [], "confirmed": []}) if derived is None else derived
        for name, unknown in (("specialised", ""), ("confirmed", False)):
            table[name] = known[name].reindex(table["expert"], fill_value=unknown).to_numpy()
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _hardest(run: Run, effect: EditEffect) -> list[dict[str, Any]]:
    """The documents whose mean loss rises most, with their first tokens."""
    documents = effect.documents.assign(rise=lambda d: (d["edited_loss"] - d["loss"]) / d["tokens"])
    documents = documents.sort_values("rise", ascending=False, kind="stable").head(HARDEST)
    known = run.documents.set_index("doc")
    return [
        {
            "doc": row["doc"],
            "label": row["label"],
            "source": str(known.loc[row["doc"], "source"] or ""),
            "tokens": row["tokens"],
            "rise": row["rise"],
            "opening": _opening(run, int(known.loc[row["doc"], "row"]), row["tokens"]),
        }
        for row in records(documents)
    ]


def _opening(run: Run, row: int, tokens: int) -> list[str]:
    rows = slice(row, row + min(OPENING, tokens))
    return run.tokens(rows)["token"].astype(str).tolist() if run.tokenizer() is None else run.row_text(rows)


def _writing(
    run: Run, model: MonetForCausalLM, matrices: Mapping[int, Tensor], effect: EditEffect
) -> list[dict[str, Any]]:
    """For the longest measured document of each label: its first tokens, and the model's greedy continuation."""
    tokenizer = run.tokenizer()
    if tokenizer is None:
        return []
    written = []
    for label in run.labels:
        measured = effect.documents[effect.documents["label"] == label]
        doc = int(measured.loc[measured["tokens"].idxmax(), "doc"])
        bos = int(run.geometry.bos[doc])
        opening = run.input_ids(doc)[: bos + OPENING]
        prompt, ids = opening[bos:].tolist(), torch.tensor(opening[None], device=model.device)
        continuations = []
        for edits in ({}, matrices):
            with model.edit_experts(edits), torch.inference_mode():
                out = model.generate(  # type: ignore[misc]
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=WRITTEN,
                    do_sample=False,
                    pad_token_id=model.config.eos_token_id,
                )
            continuations.append(whole_characters(token_pieces(tokenizer, out[0, ids.shape[1] :].tolist())))
        shown = whole_characters(token_pieces(tokenizer, prompt))
        written.append({"label": label, "prompt": shown, "without": continuations[0], "with": continuations[1]})
    return written


def edit_document(
    run: Run, model: MonetForCausalLM, edit: ExpertEdit, name: str, *, progress: bool = False
) -> Document:
    """The report of an edit called ``name``, before it is written in a format; ``model`` is the run's.

    Raises:
        BadInputError: the edit names no expert.
        UnsupportedError: it belongs to another model; and all that ``measure_edit`` raises.
    """
    if not len(edit):
        raise BadInputError(f"the edit {name} names no experts.")
    effect = measure_edit(run, model, edit, progress=progress)
    experts = _experts(run, edit)
    counts = experts.groupby(["specialised", "group"], sort=True)["confirmed"].agg(["sum", "size"])
    content: dict[str, Any] = {
        "report": "edit",
        "origin": origin(run),
        "edit": {
            "name": name,
            "identity": edit.identity,
            "experts": len(experts),
            "removed": int((experts["factor"] == 0).sum()),
            "factors": [float(experts["factor"].min()), float(experts["factor"].max())],
            "by_label": [
                {"specialised": label, "group": int(group), "confirmed": int(sure), "experts": int(count)}
                for (label, group), sure, count in counts.itertuples(name=None)
            ],
        },
        "effect": effect.to_json() | {"labels": records(effect.labels)},
        "hardest": _hardest(run, effect),
        "writing": _writing(run, model, edit.matrices(), effect),
    }
    table = effect.labels.copy()
    table.insert(0, "edit", name)
    table.insert(0, "run", content["origin"]["run"])
    return Document("edit.html.j2", content, table)


def edit_report(
    run: Run,
    edit: str | Path,
    kind: str,
    out: str | Path,
    *,
    device: str = "auto",
    dtype: str = "auto",
    progress: bool = False,
) -> None:
    """Write the report of an edit: the run's model with it and without it.

    Args:
        run: the opened run; its model must be where the run says it is.
        edit: file of an ``ExpertEdit``.
        kind: ``html`` (one page), ``json`` (the same as data), ``csv`` or ``parquet`` (one row per label; Parquet's
            metadata holds the rest under ``monet.report``).
        out: the file; an existing one is replaced.
        device, dtype: where the model runs and in which precision, as for ``load_model``.
        progress: show a progress bar.

    Raises:
        NotFoundError: there is no such edit or model, or the folder of ``out`` is missing.
        DamagedError: the file holds no edit.
        UnsupportedError: the edit belongs to another model.
        BadInputError: the format is unknown, the run has a single label or fewer than two documents of one, or
            ``out`` cannot be written.

    Examples:
        >>> import pandas as pd
        >>> import torch
        >>> from monet_model import ExpertEdit, MonetForCausalLM
        >>> from workbench import open_run
        >>> from workbench.report import edit_report
        >>> run = open_run("runs/demo")
        >>> model = MonetForCausalLM.from_pretrained(run.model_path)
        >>> ExpertEdit.from_experts(model, {run.group_layers[0]: torch.arange(9)}).save("nine.safetensors")
        >>> edit_report(run, "nine.safetensors", "csv", "nine.csv")
        >>> set(pd.read_csv("nine.csv")["label"]) == set(run.labels)
        True
    """
    from ..analysis.run_model import load_run_model

    check_kind(kind)
    loaded = load_edit(edit)
    document = edit_document(
        run, load_run_model(run, device=device, dtype=dtype), loaded, Path(edit).name, progress=progress
    )
    save(encode(document, kind), out)

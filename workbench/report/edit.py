"""The report of an edit: which experts it scales, and what the model loses and writes under it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from ..analysis import EditEffect, measure_edit
from ..errors import WorkbenchError
from ..store.text import token_pieces
from .files import Report, check_kind, encode, records, save
from .origin import analysis, origin

if TYPE_CHECKING:
    from monet_model import ExpertEdit, MonetForCausalLM

    from ..store import Run

HARDEST = 10  # documents listed
OPENING = 40  # tokens of a document shown, and read before writing
WRITTEN = 32  # tokens that the model writes


def read_edit(path: str | Path) -> ExpertEdit:
    """An edit saved by ``ExpertEdit.save``.

    Raises:
        WorkbenchError: there is none at ``path``.
    """
    from monet_model import ExpertEdit

    try:
        return ExpertEdit.load(path)
    except ValueError as error:
        raise WorkbenchError(str(error)) from error


def _experts(run: Run, edit: ExpertEdit) -> pd.DataFrame:
    """One row an edited expert: group, expert, factor, specialised ("" without a label or an analysis)."""
    tables = []
    for group, layer in zip(run.groups, run.group_layers, strict=True):
        if layer not in edit.experts:
            continue
        table = pd.DataFrame({"group": group, "expert": edit.experts[layer], "factor": edit.factors[layer]})
        derived = analysis(run, group)
        known = pd.Series(dtype=object) if derived is None else derived["specialised"]
        tables.append(table.assign(specialised=known.reindex(table["expert"], fill_value="").to_numpy()))
    return pd.concat(tables, ignore_index=True)


def _hardest(run: Run, effect: EditEffect) -> list[dict[str, Any]]:
    """The documents whose mean loss rises most, with the tokens they begin with."""
    found = effect.documents.assign(rise=lambda d: (d["edited_loss"] - d["loss"]) / d["tokens"])
    found = found.sort_values("rise", ascending=False, kind="stable").head(HARDEST)
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
        for row in records(found)
    ]


def _opening(run: Run, row: int, tokens: int) -> list[str]:
    ids = run.tokens(slice(row, row + min(OPENING, tokens)))["token"].tolist()
    tokenizer = run.tokenizer()
    return [str(token) for token in ids] if tokenizer is None else token_pieces(tokenizer, ids)


def _writing(
    run: Run, model: MonetForCausalLM, matrices: Mapping[int, Tensor], effect: EditEffect
) -> list[dict[str, Any]]:
    """For the longest measured document of each label: how it begins, and what the model writes then, greedily."""
    tokenizer = run.tokenizer()
    if tokenizer is None:
        return []
    found = []
    documents = run.documents.set_index("doc")
    for label in run.labels:
        mine = effect.documents[effect.documents["label"] == label]
        known = documents.loc[mine.loc[mine["tokens"].idxmax(), "doc"]]
        row, bos = int(known["row"]), known["bos"]
        prompt = run.tokens(slice(row, row + min(OPENING, int(known["tokens"]))))["token"].tolist()
        ids = torch.tensor([[*([] if pd.isna(bos) else [int(bos)]), *prompt]], device=model.device)
        said = []
        for edits in ({}, matrices):
            with model.edit_experts(edits), torch.inference_mode():
                out = model.generate(  # type: ignore[misc]
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=WRITTEN,
                    do_sample=False,
                    pad_token_id=model.config.eos_token_id,
                )
            said.append(token_pieces(tokenizer, out[0, ids.shape[1] :].tolist()))
        found.append({"label": label, "prompt": token_pieces(tokenizer, prompt), "without": said[0], "with": said[1]})
    return found


def edit_document(run: Run, model: MonetForCausalLM, edit: ExpertEdit, name: str, *, progress: bool = False) -> Report:
    """The report of an edit called ``name``, before it takes a form; ``model`` is the run's.

    Raises:
        WorkbenchError: the edit names no expert or belongs to another model, or as ``measure_edit``.
    """
    if not len(edit):
        raise WorkbenchError(f"the edit {name} names no experts.")
    effect = measure_edit(run, model, edit, progress=progress)
    experts = _experts(run, edit)
    counts = experts.groupby(["specialised", "group"], sort=True).size()
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
                {"specialised": label, "group": int(group), "experts": int(count)}
                for (label, group), count in counts.items()
            ],
        },
        "effect": effect.to_json() | {"labels": records(effect.labels)},
        "hardest": _hardest(run, effect),
        "writing": _writing(run, model, edit.matrices(), effect),
    }
    table = effect.labels.copy()
    table.insert(0, "edit", name)
    table.insert(0, "run", content["origin"]["run"])
    return Report("edit.html.j2", content, table)


def edit_report(run: Run, edit: str | Path, kind: str, out: str | Path, *, progress: bool = False) -> None:
    """Writes the report of an edit: the run's model with it and without it.

    Args:
        run: the opened run; its model must be where the run says it is.
        edit: file of an ``ExpertEdit``.
        kind: ``html`` (one page), ``json`` (the same as data), ``csv`` or ``parquet`` (a row a label; Parquet's
            metadata holds the rest under ``monet.report``).
        out: the file; one that exists is replaced.
        progress: show tokens, rate and time left.

    Raises:
        WorkbenchError: a file that holds no edit, or one of another model; an unknown format; a run without model, of
            one label, or with fewer than two documents of a label; or ``out`` cannot be written.
    """
    from ..analysis.run_model import load_run_model

    check_kind(kind)
    found = read_edit(edit)
    save(encode(edit_document(run, load_run_model(run), found, Path(edit).name, progress=progress), kind), out)

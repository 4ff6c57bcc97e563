"""RealToxicityPrompts and ToxiGen, read as published, as labelled corpora with a score per text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

TOXIC = 0.5  # toxicity from which RealToxicityPrompts calls a text toxic (Gehman et al. 2020, section 3)
UNKNOWN = "unknown"  # label of a text without a class

Row = Mapping[str, Any]


def published_reader(columns: Iterable[str], first: Callable[[str], Any]) -> Callable[[Row], dict[str, Any]] | None:
    """Return what turns a row of a published toxicity file into text, label, score and source; None for other files.

    A file is recognised by its columns:

    - RealToxicityPrompts (``prompts.jsonl``; arXiv 2009.11462): ``prompt.text`` and ``prompt.toxicity``, from 0 to 1;
      label ``toxic`` at ``TOXIC`` or more, else ``nontoxic``; source ``filename``. A prompt without toxicity has no
      score. Continuations are left out; a model generates its own.
    - ToxiGen, annotated by people (``annotated_train.csv``, ``annotated_test.csv`` or the same in Parquet; arXiv
      2203.09509): ``text`` and ``toxicity_human``, from 1 to 5; label ``target_group``.
    - ToxiGen, as generated (``toxigen.csv`` or Parquet): ``generation`` and ``roberta_prediction``, from 0 to 1; label
      ``group``.

    Args:
        columns: of the file; one with labels of its own is not a published file.
        first: returns the first value of a column.

    Examples:
        >>> read = published_reader(["text", "toxicity_human", "target_group"], {}.get)
        >>> read({"text": "they are our neighbours", "toxicity_human": 1.3, "target_group": "asian"})
        {'text': 'they are our neighbours', 'label': 'asian', 'score': 1.3, 'source': None}
    """
    names = set(columns)
    if "label" in names:
        return None
    if {"prompt", "continuation"} <= names and isinstance(first("prompt"), dict):
        return _real_toxicity_prompt
    if {"text", "toxicity_human"} <= names:
        return _annotated_toxigen
    if {"generation", "roberta_prediction"} <= names:
        return _generated_toxigen
    return None


def _real_toxicity_prompt(row: Row) -> dict[str, Any]:
    prompt = row["prompt"] or {}
    score = prompt.get("toxicity")
    try:
        toxicity = None if score is None else float(score)
    except (TypeError, ValueError):  # refused with the other scores
        toxicity = None
    label = UNKNOWN if toxicity is None else "toxic" if toxicity >= TOXIC else "nontoxic"
    return {"text": prompt.get("text"), "label": label, "score": score, "source": row.get("filename")}


def _annotated_toxigen(row: Row) -> dict[str, Any]:
    label = row.get("target_group") or UNKNOWN
    return {"text": row["text"], "label": label, "score": row["toxicity_human"], "source": row.get("actual_method")}


def _generated_toxigen(row: Row) -> dict[str, Any]:
    label = row.get("group") or UNKNOWN
    score = row["roberta_prediction"]
    return {"text": row["generation"], "label": label, "score": score, "source": row.get("generation_method")}

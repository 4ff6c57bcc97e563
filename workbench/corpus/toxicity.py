"""RealToxicityPrompts and ToxiGen, read as published, as labelled corpora with a score per text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

TOXIC = 0.5  # toxicity from which RealToxicityPrompts calls a text toxic (Gehman et al. 2020, section 3)
UNKNOWN = "unknown"  # label of a text without a class

Row = Mapping[str, Any]


def read_published(data: Dataset) -> Dataset:
    """Return a published toxicity file with columns text, label, score and source; other data is returned unchanged.

    A file is recognised by its columns:

    - RealToxicityPrompts (``prompts.jsonl``; arXiv 2009.11462): ``prompt.text`` and ``prompt.toxicity``, from 0 to 1;
      label ``toxic`` at ``TOXIC`` or more, else ``nontoxic``; source ``filename``. A prompt without toxicity has no
      score. Continuations are left out; a model generates its own.
    - ToxiGen, annotated by people (``annotated_train.csv``, ``annotated_test.csv`` or the same in Parquet; arXiv
      2203.09509): ``text`` and ``toxicity_human``, from 1 to 5; label ``target_group``.
    - ToxiGen, as generated (``toxigen.csv`` or Parquet): ``generation`` and ``roberta_prediction``, from 0 to 1; label
      ``group``.
    """
    columns = set(data.column_names)
    if "label" in columns:
        return data
    if {"prompt", "continuation"} <= columns and isinstance(data.features["prompt"], dict):
        read = _real_toxicity_prompt
    elif {"text", "toxicity_human"} <= columns:
        read = _annotated_toxigen
    elif {"generation", "roberta_prediction"} <= columns:
        read = _generated_toxigen
    else:
        return data
    corpus: Dataset = data.map(read, remove_columns=data.column_names, features=_features(), load_from_cache_file=False)
    return corpus


def _features() -> Any:
    from datasets import Features, Value

    kinds = {"text": "string", "label": "string", "score": "float64", "source": "string"}
    return Features({name: Value(kind) for name, kind in kinds.items()})


def _real_toxicity_prompt(row: Row) -> dict[str, Any]:
    score = row["prompt"]["toxicity"]
    label = UNKNOWN if score is None else "toxic" if score >= TOXIC else "nontoxic"
    return {"text": row["prompt"]["text"], "label": label, "score": score, "source": row.get("filename")}


def _annotated_toxigen(row: Row) -> dict[str, Any]:
    label = row.get("target_group") or UNKNOWN
    return {"text": row["text"], "label": label, "score": row["toxicity_human"], "source": row.get("actual_method")}


def _generated_toxigen(row: Row) -> dict[str, Any]:
    label = row.get("group") or UNKNOWN
    score = row["roberta_prediction"]
    return {"text": row["generation"], "label": label, "score": score, "source": row.get("generation_method")}

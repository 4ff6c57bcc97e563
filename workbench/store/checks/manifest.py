"""Checking the manifest by itself: complete, of the right types, and consistent."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..group_layers import layers_of_groups
from ..manifest import CHECKSUM, MIGRATED_FROM
from ..routing import MAX_FLAT_KEYS
from ..schema import group_name, histogram_edges, index_name, part_name, routing_name
from ..transcoded import EDITED, TRANSCODED
from .problem import expect

DENSE = "dense_layers"  # of a mixed model
MOST = 2**48  # more than any number in a manifest


@dataclass(frozen=True)
class _Kind:
    """A kind of value: its name, and a test for it."""

    name: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class _Each:
    """A dict from names of a pattern to values of one kind."""

    kind: Any
    names: str


def _whole(value: Any, least: int) -> bool:
    return type(value) is int and least <= value <= MOST


_COUNT = _Kind("a whole number from 0", lambda value: _whole(value, 0))
_POSITIVE = _Kind("a whole number from 1", lambda value: _whole(value, 1))
_YES_OR_NO = _Kind("true or false", lambda value: type(value) is bool)
_TEXT = _Kind("a text", lambda value: isinstance(value, str))
_NUMBER = _Kind("a number", lambda value: type(value) in (int, float))
_SHARE = _Kind("a number from 0 to 1", lambda value: type(value) in (int, float) and 0 <= value <= 1)
_HASH = _Kind("a SHA-256", lambda value: isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None)
_SPAN = _Kind(
    "two whole numbers, the second not the lower one",
    lambda value: (
        isinstance(value, list) and len(value) == 2 and all(_whole(v, 0) for v in value) and value == sorted(value)
    ),
)
_FILES = _Each({"bytes": _COUNT, "sha256": _HASH}, r"[\w.-]+/[\w.-]+")

_OF_SOME_MODELS: dict[str, Any] = {
    DENSE: [_COUNT],
    TRANSCODED: {"teacher": _TEXT, "layers": [_COUNT], "rise": _NUMBER, "recovered": _NUMBER},
}
_OF_SOME_TRANSCODED: dict[str, Any] = {EDITED: _YES_OR_NO}

# Lists are of any number of the one kind in them.
_MANIFEST: dict[str, Any] = {
    "schema": _POSITIVE,
    "state": _Kind("complete or exporting", lambda value: value in ("complete", "exporting")),
    "model": {
        "path": _TEXT,
        "hash": _Each(_HASH, r"[\w.-]+"),
        "heads": _POSITIVE,
        "keys": _POSITIVE,
        "decompose": _Kind(
            "the name of a decomposition", lambda value: isinstance(value, str) and value.isidentifier()
        ),
        "groups": [_COUNT],
        "layers": _POSITIVE,
        "topk": _POSITIVE,
        "vocabulary": _POSITIVE,
    },
    "tokenizer": {"hash": _Each(_HASH, r"[\w.-]+")},
    "corpus": {
        "path": _TEXT,
        "hash": _HASH,
        "documents": _POSITIVE,
        "tokens": _COUNT,
        "copies": _COUNT,
        "skipped": _Each(_POSITIVE, r"[^\n]+"),
        "notes": [_TEXT],
    },
    "labels": [_TEXT],
    "settings": {
        "batch_size": _POSITIVE,
        "context": _POSITIVE,
        "bos_in_windows": _YES_OR_NO,
        "overlap": _COUNT,
        "control_in_text": _YES_OR_NO,
        "part_tokens": _POSITIVE,
        "examples": _POSITIVE,
        "examples_per_document": _POSITIVE,
        "keep_routing": _SHARE,
    },
    "histogram": [_NUMBER],
    "parts": [
        {"part": _COUNT, "documents": _SPAN, "rows": _SPAN, "windows": _SPAN, "size": _COUNT, "files": _FILES},
    ],
    "files": _FILES,
}


def check_shape(manifest: dict[str, Any]) -> None:
    """Raises Wrong unless it has exactly the entries of a manifest, each of its kind."""
    kinds = _MANIFEST
    if CHECKSUM in manifest:  # older ones have none
        kinds = kinds | {CHECKSUM: _HASH}
    if MIGRATED_FROM in manifest:
        kinds = kinds | {MIGRATED_FROM: _POSITIVE}
    if manifest.get("tokenizer", "") is None:  # the corpus gave ids
        kinds = kinds | {"tokenizer": _Kind("null", lambda value: value is None)}
    model = manifest.get("model")
    if isinstance(model, dict):
        more = {name: kind for name, kind in _OF_SOME_MODELS.items() if name in model}
        if isinstance(known := model.get(TRANSCODED), dict):
            more[TRANSCODED] = more[TRANSCODED] | {k: v for k, v in _OF_SOME_TRANSCODED.items() if k in known}
        kinds = kinds | {"model": kinds["model"] | more}
    _check("", manifest, kinds)


def _check(name: str, value: Any, kind: Any) -> None:
    if isinstance(kind, _Kind):
        expect(kind.holds(value), f"{name} is {value!r:.60}, not {kind.name}")
    elif isinstance(kind, list):
        expect(isinstance(value, list), f"{name} is {value!r:.60}, not a list")
        for number, entry in enumerate(value):
            _check(f"{name}[{number}]", entry, kind[0])
    else:
        expect(isinstance(value, dict), f"{name or 'it'} is {value!r:.60}, not names with values")
        kinds = kind
        if isinstance(kind, _Each):
            kinds = {entry: kind.kind for entry in value if re.fullmatch(kind.names, entry, re.ASCII)}
        for entry in dict.fromkeys([*kinds, *value]):
            inside = f"{name}.{entry}" if name else entry
            expect(entry in value, f"it lacks {inside}")
            expect(entry in kinds, f"it has an unknown entry {inside!r}")
            _check(inside, value[entry], kinds[entry])


def check_sense(manifest: dict[str, Any]) -> None:
    """Raises Wrong unless the values of a complete run's manifest are consistent."""
    model, labels = manifest["model"], manifest["labels"]
    _check_layers(model["groups"], model.get(DENSE, []), model["layers"])
    if TRANSCODED in model:
        experts = [layer for layers in layers_of_groups(model) for layer in layers]
        expect(model[TRANSCODED]["layers"] == experts, f"model.{TRANSCODED}.layers are not those with experts")
    expect(model["heads"] * model["keys"] <= MAX_FLAT_KEYS, "model.heads and model.keys are more than a run can store")
    expect(model["topk"] <= model["keys"], "model.topk is more than model.keys")
    expect("config.json" in model["hash"] and len(model["hash"]) > 1, "model.hash lacks config.json or weights")
    expect(manifest["histogram"] == histogram_edges(model["heads"]), "the histogram's edges are not those of the heads")
    expect(labels and labels == sorted(set(labels)), "labels are not sorted and unique")
    _check_parts(manifest)
    _check_listed(manifest)


def _check_layers(groups: list[int], dense: list[int], layers: int) -> None:
    expect(dense == sorted({*dense} & {*range(layers)}), f"model.{DENSE} are not ascending layers of the model")
    first = min({*range(layers)} - {*dense}, default=None)  # which owns the first router
    expect(
        groups[:1] == [first] and groups == sorted(set(groups)),
        f"model.groups are not ascending layers from {0 if first is None else first}",
    )
    expect(groups[-1] < layers, "model.groups has layers beyond model.layers")
    expect(not {*groups} & {*dense}, f"model.groups has layers of model.{DENSE}")


def _check_parts(manifest: dict[str, Any]) -> None:
    parts = manifest["parts"]
    expect(parts and [part["part"] for part in parts] == list(range(len(parts))), "parts are not numbered 0, 1, …")
    for name in ("documents", "rows", "windows"):
        ends = [0, *(part[name][1] for part in parts)]
        expect([part[name][0] for part in parts] == ends[:-1], f"{name} of the parts are not consecutive")
    expect(
        parts[-1]["documents"][1] == manifest["corpus"]["documents"],
        "the parts do not have all documents of the corpus",
    )
    expect(all(part["documents"][0] < part["documents"][1] for part in parts), "a part has no documents")
    expect(parts[-1]["rows"][1] > 0, "the run has no tokens")


def _check_listed(manifest: dict[str, Any]) -> None:
    groups = range(len(manifest["model"]["groups"]))
    for part in manifest["parts"]:
        names = [make(part["part"], group) for make in (routing_name, index_name) for group in groups]
        names += [part_name(folder, part["part"]) for folder in ("tokens", "documents")]
        expect(sorted(part["files"]) == sorted(names), f"the files of part {part['part']} are not all listed")
    names = [group_name(folder, group) for folder in ("experts", "examples", "intervals") for group in groups]
    tokenizer = [name for name in manifest["files"] if re.fullmatch(r"tokenizer/[^/]+", name)]
    expect(sorted(manifest["files"]) == sorted(names + tokenizer), "the files of the whole run are not all listed")
    there = "tokenizer/tokenizer.json" in tokenizer
    hashes = (manifest["tokenizer"] or {"hash": {}})["hash"]
    hashed = "tokenizer.json" in hashes or "tokenizer.model" in hashes  # the run holds either as tokenizer.json
    expect(there == hashed == (manifest["tokenizer"] is not None), "tokenizer and the tokenizer's files do not match")

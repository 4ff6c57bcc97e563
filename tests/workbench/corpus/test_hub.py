"""Corpora on a hub, simulated: configurations and splits by name, and one sentence for all that can go wrong."""

from __future__ import annotations

from typing import Any

import datasets
import pytest

from workbench.corpus import read_corpus
from workbench.errors import BadInputError, NotFoundError, UnsupportedError


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A hub whose one corpus has these splits by configuration."""
    there = {"en": ["train", "dev"], "de": ["train"]}

    def load(name: str, config: str, split: str) -> datasets.Dataset:
        return datasets.Dataset.from_dict({"text": [f"{config}/{split}"], "label": [1]})

    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda name: list(there))
    monkeypatch.setattr(datasets, "get_dataset_split_names", lambda name, config: there[config])
    monkeypatch.setattr(datasets, "load_dataset", load)
    return there


def test_configurations_and_splits(hub: dict[str, list[str]]) -> None:
    with pytest.raises(BadInputError, match="configurations en, de; choose one with --config"):
        read_corpus("owner/name")
    corpus = read_corpus("owner/name", config="en")
    assert (corpus.data[0], corpus.split, corpus.files) == ({"text": "en/train", "label": "1"}, "train", ["owner/name"])
    assert corpus.notes == ["The split train was read; there is also dev (--split)."]
    with pytest.raises(NotFoundError, match="no configuration 'fr'; it has en, de"):
        read_corpus("owner/name", config="fr")
    with pytest.raises(NotFoundError, match="no split 'test'; it has train, dev"):
        read_corpus("owner/name", "test", config="en")
    hub["default"] = ["test"]
    corpus = read_corpus("owner/name")
    assert (corpus.split, corpus.notes) == (
        "test",
        ["The configuration default was read; there is also en, de (--config)."],
    )


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (ConnectionError("Couldn't reach the Hub\nRetry."), NotFoundError),
        (datasets.exceptions.DatasetNotFoundError("doesn't exist"), NotFoundError),
        (ValueError("Bad split"), UnsupportedError),
        (RuntimeError("Dataset scripts are no longer supported"), UnsupportedError),
    ],
)
def test_what_the_library_raises_is_one_sentence(
    hub: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, raised: Exception, kind: type
) -> None:
    def fail(name: str) -> Any:
        raise raised

    monkeypatch.setattr(datasets, "get_dataset_config_names", fail)
    with pytest.raises(kind, match=f"owner/name.*{str(raised).splitlines()[0]}"):
        read_corpus("owner/name")

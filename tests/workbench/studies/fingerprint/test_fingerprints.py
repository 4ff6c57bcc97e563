"""The secret file: what is written is read, it binds, and what is no such file is named."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest

from workbench.errors import BadInputError, DamagedError, NotFoundError, UnsupportedError
from workbench.studies.fingerprint import Fingerprints


def make(**changed: object) -> Fingerprints:
    given = {
        "scheme": "perinucleus",
        "k": 3,
        "secret": b"\x00\xff",
        "keys": np.array([[1, 2], [3, 4]]),
        "responses": np.array([5, 6]),
        "base_probability": np.array([0.01, 0.02]),
        "nucleus": np.array([0.5, np.nan]),
        "seed": 7,
        "vocabulary": 9,
    }
    return Fingerprints(**(given | changed))  # type: ignore[arg-type]


def test_a_secret_file_is_read_as_it_was_written_and_by_its_owner_alone(tmp_path: Path) -> None:
    one = make()
    one.save(tmp_path / "secret.json")
    assert stat.S_IMODE((tmp_path / "secret.json").stat().st_mode) == 0o600
    read = Fingerprints.load(tmp_path / "secret.json")
    assert (read.scheme, read.k, read.secret, read.seed, read.vocabulary) == ("perinucleus", 3, b"\x00\xff", 7, 9)
    for name in ("keys", "responses", "base_probability", "nucleus"):
        np.testing.assert_array_equal(getattr(read, name), getattr(one, name))
    assert read.commitment == one.commitment


@pytest.mark.parametrize(
    "changed",
    [
        {"secret": b"\x00\xfe"},
        {"keys": np.array([[1, 2], [4, 3]])},
        {"responses": np.array([6, 5])},
        {"k": 4},
        {"scheme": "english"},
    ],
)
def test_the_commitment_binds_everything(changed: dict[str, object]) -> None:
    assert make(**changed).commitment != make().commitment


def test_taking_some_keeps_rows_together() -> None:
    some = make().take(np.array([1]))
    assert some.keys.tolist() == [[3, 4]]
    assert some.responses.tolist() == [6]
    assert np.isnan(some.nucleus[0])


@pytest.mark.parametrize(
    "changed",
    [
        {"keys": np.array([1, 2])},
        {"keys": np.empty((0, 2), np.int64)},
        {"responses": np.array([5])},
        {"responses": np.array([5, 9])},
        {"keys": np.array([[1, 2], [3, -1]])},
        {"k": 0},
    ],
)
def test_fingerprints_that_make_no_sense_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(BadInputError):
        make(**changed)


def test_what_is_no_secret_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file of fingerprints"):
        Fingerprints.load(tmp_path / "none.json")
    file = tmp_path / "some.json"
    make().save(file)
    stored = json.loads(file.read_text())
    for content in ("", "[]", "{}", json.dumps(stored | {"keys": [[1, 2]]}), json.dumps(stored | {"secret": "no hex"})):
        file.write_text(content)
        with pytest.raises(DamagedError, match="some.json"):
            Fingerprints.load(file)
    file.write_text(json.dumps(stored | {"version": 2}))
    with pytest.raises(UnsupportedError, match="version 2"):
        Fingerprints.load(file)

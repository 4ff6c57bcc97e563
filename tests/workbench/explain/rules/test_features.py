"""What rules may ask of a token, read off texts that were chosen for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset

from workbench.errors import UnsupportedError
from workbench.explain.rules.features import FEATURES, Features, read_features, token_kind
from workbench.export import export_run
from workbench.store import Run, open_run

TEXT = "def f(self):\n    return self  # the end\n"


@pytest.fixture(scope="module")
def tiny(text_run_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("features")
    rows = [{"text": TEXT, "label": "python"}, {"text": TEXT, "label": "prose"}]
    Dataset.from_list(rows).to_parquet(folder / "corpus.parquet")
    export_run(open_run(text_run_path).model_path, folder / "corpus.parquet", folder / "run")
    return open_run(folder / "run")


def read(features: Features, row: int) -> dict[str, str]:
    return {name: features.texts[code] for name, code in zip(features.names, features.codes[row], strict=True)}


def test_every_column_numbers_its_own_values(tiny: Run) -> None:
    features = read_features(tiny)
    assert features.codes.shape == (tiny.tokens_total, len(FEATURES))
    assert (features.feature[features.codes] == range(len(FEATURES))).all()
    assert len(features.texts) == len(features.feature)


def test_features_say_what_is_read_at_a_token(tiny: Run) -> None:
    features = read_features(tiny)
    tokens = tiny.tokens()
    half = int(tiny.documents["tokens"].iloc[0])
    ends = {int(end): row for row, end in enumerate(tokens["end"][:half])}
    last = read(features, ends[TEXT.index(" # the") - 1])  # ends the second self
    assert last["word"] == "self"
    assert last["line"] == "return"
    assert last["line before"] == "def"
    assert last["indent"] == "4"
    assert last["bracket"] == "outside brackets"
    assert last["place"] == "outside comments and strings"
    first = read(features, ends[TEXT.index("):")])  # ends the first self
    assert first["bracket"] == "inside ( )"
    assert first["opener"] == "f"
    assert first["indent"] == "nothing"
    comment = read(features, ends[TEXT.index("the") + 3])
    assert comment["place"] == "in line comments"


def test_the_first_token_of_a_document_has_nothing_in_front(tiny: Run) -> None:
    features = read_features(tiny)
    second = int(tiny.documents["row"].iloc[-1])
    for row in (0, second):
        found = read(features, row)
        assert found["before"] == found["second before"] == "the start of the document"
        assert found["position"] == "at the first token of the document"
        assert found["column"] == "at the start of a line"
        assert found["repeated"] == "where the token is new to the document"
    assert read(features, 0)["label"] == "python"
    assert read(features, second)["label"] == "prose"


def test_a_token_never_sees_what_follows_it(tiny: Run, text_run_path: Path, tmp_path: Path) -> None:
    """A document cut short has the same features up to the cut."""
    cut = TEXT.index("  # the")
    rows = [{"text": TEXT[:cut], "label": "python"}, {"text": TEXT, "label": "prose"}]
    Dataset.from_list(rows).to_parquet(tmp_path / "corpus.parquet")
    export_run(open_run(text_run_path).model_path, tmp_path / "corpus.parquet", tmp_path / "run")
    short = open_run(tmp_path / "run")
    one, other = read_features(short), read_features(tiny)
    rows_ = int(short.documents["tokens"].iloc[0])
    assert rows_ > 5
    for row in range(rows_):
        assert read(one, row) == read(other, row)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("\n  ", "line breaks"),
        ("  ", "blanks"),
        ("42", "digits"),
        ("Foo", "capitalised words"),
        (" FOO", "capitals after a space"),
        ("F", "single capitals"),
        ("fooBar", "mixed-case words"),
        ("a_b", "letters with other signs"),
        ("é", "lower-case letters"),
    ],
)
def test_token_kind(text: str, kind: str) -> None:
    assert token_kind(text) == kind


def test_token_ids_without_text_are_refused(sound_run: Path) -> None:
    with pytest.raises(UnsupportedError, match="token ids without text"):
        read_features(open_run(sound_run))

"""Reading a labelled corpus: anything the `datasets` library reads, checked before use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BadInputError, DamagedError, NotFoundError
from .toxicity import read_published

if TYPE_CHECKING:
    from datasets import Dataset

_FORMATS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}


def _files(folder: Path, suffix: str) -> list[str]:
    return [str(p) for p in sorted(folder.glob(f"*{suffix}"))]


def _read_files(files: list[str], kind: str, spec: str | Path) -> Dataset:
    import pyarrow.parquet as pq
    from datasets import load_dataset

    # The library's message for a Parquet file without rows is about a batch size, and it fails on empty JSON files.
    filled = (pq.read_metadata(file).num_rows if kind == "parquet" else Path(file).stat().st_size for file in files)
    if not any(filled):
        raise BadInputError(f"the corpus {spec} is empty.")
    data: Dataset = load_dataset(kind, data_files=files, split="train")
    return data


def _read_folder(folder: Path, split: str | None) -> Dataset:
    """Read a folder with one sub-folder per split, a folder of data files, or one folder of text files per label."""
    splits = [name for name in ("heldout", "test", "validation", "train") if (folder / name).is_dir()]
    if split is not None and (folder / split).is_dir():
        folder = folder / split
    elif splits and split is None:
        folder = folder / splits[0]
    elif split is not None:
        raise NotFoundError(f"the corpus {folder} has no split {split!r}; it has {', '.join(splits) or 'none'}.")
    for suffix, kind in _FORMATS.items():
        if files := _files(folder, suffix):
            return _read_files(files, kind, folder)
    texts = sorted(p for p in folder.glob("*/*") if p.is_file())
    if not texts:
        raise NotFoundError(
            f"the corpus {folder} has no Parquet, JSONL or CSV files, and no folders of text files named for labels."
        )
    return _read_text_folders(texts)


def _read_text_folders(paths: list[Path]) -> Dataset:
    from datasets import Dataset

    def rows(files: list[str]):  # type: ignore[no-untyped-def]
        for name in files:
            try:
                text = Path(name).read_bytes().decode("utf-8")
            except UnicodeDecodeError as error:
                raise BadInputError(f"{name} is not UTF-8 text ({error.reason}); convert or remove it.") from error
            yield {"text": text, "label": Path(name).parent.name, "source": name}

    return Dataset.from_generator(rows, gen_kwargs={"files": [str(p) for p in paths]})


def load_corpus(spec: str | Path, split: str | None = None) -> Dataset:
    """Load a corpus with a string column ``label`` and either ``text`` or ``input_ids``, and perhaps ``score``.

    Args:
        spec: a Parquet, JSONL or CSV file; a folder of them; a folder with one sub-folder per split (``train``,
            ``heldout``); a folder with one sub-folder of text files per label; or a name on a hub. The files of
            RealToxicityPrompts and ToxiGen are read as published (``read_published``).
        split: name of the split; by default the held-out one where there are several.

    Returns:
        A ``datasets.Dataset``; all other columns stay.

    Raises:
        NotFoundError: there is no corpus, or no such split.
        BadInputError: it is empty or of another format, has no labels or texts, or a row lacks one.
        DamagedError: a file of it cannot be read.

    Examples:
        >>> from workbench.corpus import load_corpus
        >>> corpus = load_corpus("monet_model/demo/heldout.parquet")
        >>> sorted(set(corpus["label"]))
        ['cpp', 'java', 'javascript', 'lua', 'php', 'prose', 'python']
    """
    import datasets
    from datasets.exceptions import DatasetGenerationError
    from pyarrow import ArrowException

    path = Path(spec)
    bars = datasets.utils.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # a corpus is read in seconds
    try:
        if path.is_dir():
            data = _read_folder(path, split)
        elif path.is_file():
            if path.suffix not in _FORMATS:
                raise BadInputError(f"{path} is not a corpus: expected one of {', '.join(_FORMATS)}, or a folder.")
            data = _read_files([str(path)], _FORMATS[path.suffix], path)
        elif path.is_absolute() or path.suffix or str(spec).count("/") != 1 or str(spec).startswith("."):
            raise NotFoundError(f"there is no corpus at {path}.")
        else:
            data = datasets.load_dataset(str(spec), split=split or "test")
        data = read_published(data)
    except (DatasetGenerationError, ArrowException) as error:
        if isinstance(error.__cause__, BadInputError):  # ours, from a file of text
            raise error.__cause__ from None
        raise DamagedError(f"the corpus {spec} cannot be read: {error.__cause__ or error}") from error
    except (FileNotFoundError, ConnectionError) as error:
        raise NotFoundError(f"there is no corpus at {spec}: {error}") from error
    finally:
        if not bars:
            datasets.enable_progress_bars()
    return _checked(data, spec)


def _checked(data: Dataset, spec: str | Path) -> Dataset:
    columns = data.column_names
    if len(data) == 0:
        raise BadInputError(f"the corpus {spec} is empty.")
    if "label" not in columns:
        raise BadInputError(
            f"the corpus {spec} has no column `label` (it has {', '.join(columns)}); rename the column "
            "that holds each text's class to `label`."
        )
    if "text" not in columns and "input_ids" not in columns:
        raise BadInputError(f"the corpus {spec} has neither `text` nor `input_ids` (it has {', '.join(columns)}).")
    feature = data.features["label"]
    if hasattr(feature, "int2str"):
        names = feature.names
        data = data.cast_column("label", _string()) if not names else _named_labels(data, names)
    content = "text" if "text" in columns else "input_ids"
    for start in range(0, len(data), 1000):
        batch = data[start : start + 1000]
        for column in ("label", content):
            missing = [start + i for i, value in enumerate(batch[column]) if value is None or value == ""]
            if missing:
                raise BadInputError(f"the corpus {spec} has no {column} in row {missing[0]}.")
        if content == "text" and not all(isinstance(t, str) for t in batch["text"]):
            raise BadInputError(f"the corpus {spec} has a `text` that is not a string.")
    if data.features["label"].dtype != "string":
        data = data.cast_column("label", _string())
    return data


def _string():  # type: ignore[no-untyped-def]
    from datasets import Value

    return Value("string")


def _named_labels(data: Dataset, names: list[str]) -> Dataset:
    ids = data["label"]
    return data.remove_columns("label").add_column("label", [names[i] for i in ids])

"""The configurations that a dataset card lists: the YAML at the head of README.md in a clone of a hub repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import BadInputError, DamagedError, NotFoundError
from .names import file_format, ordered, split_of


def read_configs(folder: Path, files: list[Path], config: str | None) -> tuple[dict[str, list[Path]], list[str]] | None:
    """Return the data files of a configuration by split, and a sentence if there are others; None if none is listed.

    Args:
        folder: the clone.
        files: relative paths of its files.
        config: name of the configuration; by default the only one, or the one that is marked or called default.

    Raises:
        NotFoundError: there is no such configuration, or none of its files are there.
        BadInputError: there are several and none is the default.
        DamagedError: the YAML cannot be read.
    """
    listed = [entry for entry in _entries(folder) if "config_name" in entry]
    if not listed:
        return None
    names = [str(entry["config_name"]) for entry in listed]
    notes: list[str] = []
    if config is not None:
        if config not in names:
            raise NotFoundError(f"the corpus {folder} has no configuration {config!r}; it has {', '.join(names)}.")
        entry = listed[names.index(config)]
    elif len(listed) == 1:
        entry = listed[0]
    else:
        default = [one for one in listed if one.get("default") is True or one["config_name"] == "default"]
        if not default:
            raise BadInputError(
                f"the corpus {folder} has the configurations {', '.join(names)}; choose one with --config."
            )
        entry = default[0]
        others = ", ".join(name for name in names if name != str(entry["config_name"]))
        notes = [f"The configuration {entry['config_name']} was read; there is also {others} (--config)."]
    patterns = _patterns(entry.get("data_files"))
    if not patterns:
        return None if config is None else (_in_folder(folder, files, entry), notes)
    base = str(entry.get("data_dir") or ".")
    by_split = {split: _matching(folder, base, globs, files) for split, globs in patterns.items()}
    missing = [split for split, found in by_split.items() if not found]
    if len(missing) == len(by_split):
        raise NotFoundError(
            f"the corpus {folder} has none of the files that README.md lists for {entry['config_name']}; fetch them."
        )
    return {split: found for split, found in by_split.items() if found}, notes


def _entries(folder: Path) -> list[dict[str, Any]]:
    import yaml

    readme = folder / "README.md"
    if not readme.is_file():
        return []
    lines = readme.read_bytes().decode("utf-8-sig", "replace").splitlines()
    if not lines or lines[0].strip() != "---" or "---" not in lines[1:]:
        return []
    try:
        head = yaml.safe_load("\n".join(lines[1 : lines.index("---", 1)]))
    except yaml.YAMLError as error:
        raise DamagedError(f"the YAML at the head of {readme} cannot be read: {str(error).splitlines()[0]}.") from error
    configs = head.get("configs") if isinstance(head, dict) else None
    return [entry for entry in configs if isinstance(entry, dict)] if isinstance(configs, list) else []


def _patterns(data_files: Any) -> dict[str, list[str]]:
    """Patterns by split, of any spelling: a pattern, a list of them, a mapping, or a list of mappings."""
    if isinstance(data_files, dict):
        return {str(split): _listed(globs) for split, globs in data_files.items()}
    if isinstance(data_files, list) and all(isinstance(one, dict) and "split" in one for one in data_files):
        return {str(one["split"]): _listed(one.get("path")) for one in data_files}
    globs = _listed(data_files)
    return {"train": globs} if globs else {}


def _listed(globs: Any) -> list[str]:
    """Patterns inside the clone; a trailing ``**`` means all files below."""
    found = [str(one).removeprefix("./") for one in (globs if isinstance(globs, list) else [globs]) if one]
    return [one + "/*" if one.endswith("**") else one for one in found if not one.startswith("/")]


def _matching(folder: Path, base: str, globs: list[str], files: list[Path]) -> list[Path]:
    found = {path.relative_to(folder) for glob in globs for path in (folder / base).glob(glob)}
    return [path for path in files if path in found]


def _in_folder(folder: Path, files: list[Path], entry: dict[str, Any]) -> dict[str, list[Path]]:
    inside = [path for path in files if path.is_relative_to(str(entry.get("data_dir") or ".")) and file_format(path)]
    by_split: dict[str, list[Path]] = {}
    for path in inside:
        by_split.setdefault(split_of(path) or "train", []).append(path)
    if not by_split:
        raise NotFoundError(f"the configuration {entry['config_name']} of the corpus {folder} has no data files.")
    return {split: by_split[split] for split in ordered(by_split)}

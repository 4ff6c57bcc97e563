"""Corpora on a hub, fetched by the `datasets` library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import BadInputError, NotFoundError, UnsupportedError
from .names import choose_split

if TYPE_CHECKING:
    from datasets import Dataset


def fetch(name: str, config: str | None, split: str | None) -> tuple[Dataset, str, list[str], list[str]]:
    """Fetch one split of a corpus.

    Args:
        name: owner/name.
        config: configuration; by default the only one, or the one called default.
        split: by default the first of heldout, test, validation and train.

    Returns:
        The data, its split, all splits, and sentences about what was not asked for.

    Raises:
        NotFoundError: there is no such corpus, configuration or split, or no connection.
        BadInputError: there are several configurations or splits, and none is the usual one.
        UnsupportedError: the library cannot read it.
    """
    import datasets
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    try:
        configs = [str(one) for one in datasets.get_dataset_config_names(name)]
        chosen = _config(configs, name, config)
        splits = [str(one) for one in datasets.get_dataset_split_names(name, chosen)]
        wanted, notes = choose_split(splits, split, name)
        if wanted is None:
            raise NotFoundError(f"the corpus {name} has no splits.")
        if config is None and len(configs) > 1:
            others = ", ".join(one for one in configs if one != chosen)
            notes = [f"The configuration {chosen} was read; there is also {others} (--config).", *notes]
        data = datasets.load_dataset(name, chosen, split=wanted)
        return data, wanted, splits, notes
    except (NotFoundError, BadInputError):
        raise
    except (OSError, httpx.HTTPError, HfHubHTTPError) as error:  # no connection, no such name, or no access
        raise NotFoundError(f"there is no corpus at {name}: {_sentence(error)}.") from error
    except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise UnsupportedError(f"the corpus {name} cannot be read from the hub: {_sentence(error)}.") from error


def _config(there: list[str], name: str, config: str | None) -> str:
    if config is not None:
        if config not in there:
            raise NotFoundError(f"the corpus {name} has no configuration {config!r}; it has {', '.join(there)}.")
        return config
    if len(there) > 1 and "default" not in there:
        raise BadInputError(f"the corpus {name} has the configurations {', '.join(there)}; choose one with --config.")
    return there[0] if len(there) == 1 else "default"


def _sentence(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")

"""Optional packages: importing one, or saying how to install it."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from .errors import UnsupportedError


def require(module: str, extra: str, what: str) -> ModuleType:
    """Import a module that an optional extra of this package installs.

    Args:
        module: name of the module, such as ``umap``.
        extra: the extra in setup.cfg that installs it, such as ``map``.
        what: what the module is to a reader, such as ``UMAP``.

    Raises:
        UnsupportedError: it is not installed, or its own imports fail; the message says which of the two.
    """
    try:
        return import_module(module)
    except ImportError as error:
        if installed(module):
            raise UnsupportedError(f"{what} is installed, but importing it failed: {error}.") from error
        raise UnsupportedError(missing(extra, what)) from error


def installed(module: str) -> bool:
    """Whether a top-level module could be found, without importing it."""
    return find_spec(module) is not None


def missing(extra: str, what: str) -> str:
    """The sentence for a package that is not installed, with the README's command for the extra that has it."""
    return f"{what} is not installed; run `.venv/bin/pip install -c constraints.txt -e '.[{extra}]'`."

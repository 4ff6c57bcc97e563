"""Lets TransformerLens boot Monet in a process that does not import this package's models itself.

The entry point in ``transformer_lens.architectures`` is not enough for TransformerLens 4.3: before its
``boot_transformers`` reads entry points it asks transformers for the config class, and looks the architecture up in a
table of its own. So :func:`install` waits for that table and enters Monet in it. It is called when ``monet_model`` is
imported, and through the entry-point group ``torch.backends``, whose members PyTorch calls whenever it is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

ARCHITECTURE = "MonetForCausalLM"
TABLE = "transformer_lens.factories.architecture_adapter_factory"


def _adapter(cfg: Any) -> Any:
    """Stands for the adapter class, which can be imported only after TransformerLens itself."""
    return import_module("monet_model.lens").MonetArchitectureAdapter(cfg)


def _register(table: ModuleType) -> None:
    import_module("monet_model.modeling")  # tells transformers of the config and model classes
    table.SUPPORTED_ARCHITECTURES.setdefault(ARCHITECTURE, _adapter)
    # In an installation the entry point names the adapter; registering it twice would make TransformerLens warn.
    if not entry_points(group="transformer_lens.architectures", name=ARCHITECTURE):
        table.ArchitectureAdapterFactory.register_adapter(ARCHITECTURE, _adapter)


class _TableWatcher(MetaPathFinder):
    """Finds the table's module as Python does, and registers Monet once the module has been executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != TABLE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            _register(module)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]  # of this one loader
        return spec


def install() -> None:
    """Enter Monet in TransformerLens' table now if that is loaded, else when it is. Cheap, and safe to repeat."""
    if TABLE in sys.modules:
        _register(sys.modules[TABLE])
    elif not any(isinstance(finder, _TableWatcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TableWatcher())

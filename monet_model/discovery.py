"""Registers Monet with TransformerLens, even in a process that never imports ``monet_model``.

The entry point in ``transformer_lens.architectures`` is not enough for TransformerLens 4.3: before its
``boot_transformers`` reads entry points, it asks transformers for the config class and looks the architecture up in a
table of supported ones. So ``install`` waits until that table is imported and adds Monet to it. It is called when
``monet_model`` is imported, and through the entry-point group ``torch.backends``, whose members PyTorch calls when it
is imported. It must therefore cost next to nothing: this module imports neither torch nor transformers.
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
TABLE_MODULE = "transformer_lens.factories.architecture_adapter_factory"


def _adapter(cfg: Any) -> Any:
    """Create the adapter. A stand-in for its class, which cannot be imported before TransformerLens itself."""
    return import_module("monet_model.lens").MonetArchitectureAdapter(cfg)


def _register(table: ModuleType) -> None:
    import_module("monet_model.modeling")  # registers the config and model classes with transformers
    table.SUPPORTED_ARCHITECTURES.setdefault(ARCHITECTURE, _adapter)
    # In an installed package the entry point registers the adapter; doing it twice makes TransformerLens warn.
    if not entry_points(group="transformer_lens.architectures", name=ARCHITECTURE):
        table.ArchitectureAdapterFactory.register_adapter(ARCHITECTURE, _adapter)


class _TableWatcher(MetaPathFinder):
    """Import hook that finds the table's module as Python does, and registers Monet after executing it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != TABLE_MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            _register(module)

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]  # on this one loader instance
        return spec


def install() -> None:
    """Register Monet with TransformerLens, now if it is imported, otherwise when it is. Cheap, and safe to repeat."""
    if TABLE_MODULE in sys.modules:
        _register(sys.modules[TABLE_MODULE])
    elif not any(isinstance(finder, _TableWatcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _TableWatcher())

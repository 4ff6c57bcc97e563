"""MkDocs hook: one reference page per package, of the names that its `__init__` lists, so that none is forgotten."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[2]
PACKAGES = (
    *("workbench", "workbench.analysis", "workbench.explain", "workbench.evaluation", "workbench.transcode"),
    *("monet_model", "cuda_ext"),
)


def public_names(package: str) -> list[str]:
    """The full names of what a package exports, in the order of its stub or `__init__`."""
    folder = ROOT / package.replace(".", "/")
    stub = folder / "__init__.pyi"
    source = (stub if stub.exists() else folder / "__init__.py").read_text(encoding="utf-8")
    return [
        f"{package}.{node.module}.{alias.name}"
        for node in ast.parse(source).body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    ]


def page(package: str) -> str:
    """Markdown of a package's reference."""
    return f"# {package}\n\n" + "\n".join(f"::: {name}\n" for name in public_names(package))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages to the site."""
    from mkdocs.structure.files import File

    for package in PACKAGES:
        files.append(File.generated(config, f"reference/{package}.md", content=page(package)))
    return files

"""docs/architecture.md is the map of the code as it is: every package is on it, and nothing on it is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workbench import errors

ROOT = Path(__file__).parents[2]
MAP = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def entries() -> list[Path]:
    """The paths that the tree names, by indentation."""
    tree = MAP.split("## Packages")[1].split("## Imports")[0]
    found, folders = [], {0: Path()}
    for line in filter(str.strip, tree.splitlines()):
        depth = len(line) - len(line.lstrip())
        names = re.match(r"\s*((?:[\w.]+/?)(?:, [\w.]+)*)\s{2,}", line)
        assert names, line
        parent = folders[max(level for level in folders if level < depth)]
        for name in names[1].split(", "):
            found.append(parent / name)
            if name.endswith("/"):
                folders = {level: path for level, path in folders.items() if level < depth} | {depth: parent / name}
    return found


def test_architecture_names_only_what_exists() -> None:
    assert [str(path) for path in entries() if not (ROOT / path).exists()] == []


def test_architecture_names_every_package() -> None:
    packages = {
        path.parent.relative_to(ROOT)
        for top in ("cuda_ext", "monet_model", "workbench")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert packages - set(entries()) == set()


def test_architecture_names_only_registries_that_exist() -> None:
    table = MAP.split("## Where variants are added")[1]
    for folder, name in re.findall(r"\| `([\w/.]+)` \| `(\w+)`", table):
        path = ROOT / folder
        sources = [path] if path.is_file() else list(path.glob("*.py"))
        assert any(re.search(rf"^{name}\b", source.read_text(encoding="utf-8"), re.M) for source in sources), name


@pytest.mark.parametrize(
    "kind",
    [
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.WorkbenchError) and cls is not errors.WorkbenchError
    ],
)
def test_every_kind_of_error_has_its_page(kind: type[errors.WorkbenchError]) -> None:
    page = re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__.removesuffix("Error")).lower()
    text = (ROOT / "docs" / "errors" / f"{page}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {kind.__name__}\n")
    assert all(f"**{part}.**" in text for part in ("Symptom", "Cause", "Fix"))


LINK = re.compile(r"\]\((?!https?:|#|/|reference/)([^)#\s]+)")  # `make docs` checks those to the reference


@pytest.mark.parametrize("page", sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]), ids=lambda page: page.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    targets = LINK.findall(page.read_text(encoding="utf-8"))  # `make docs` checks those to the generated reference
    assert [target for target in targets if not (page.parent / target).exists()] == []

"""The projects of the corpus code9: several of each label, on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.corpus import code9
from workbench.corpus.code9 import HUMAN, PROJECTS, Project
from workbench.corpus.packages import Package


@pytest.mark.parametrize("label", PROJECTS)
def test_every_label_has_projects_enough(label: str) -> None:
    heldout = [project.heldout for project in PROJECTS[label]]
    read = len(heldout) - sum(heldout) + (label == "python")  # whose standard library is read as well
    assert read >= 3
    assert sum(heldout) >= 2


def test_manuals_are_cut_into_texts_of_their_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "doc").mkdir()
    german = "<p>Das Paket wird mit dem Befehl installiert, und die Datei ist da.</p>"
    english = "<p>The package is installed with the command, and the file is there.</p>"
    (tmp_path / "doc" / "a.html").write_text(f"<html><body>{(german + english) * 300}</body></html>")
    (tmp_path / "doc" / "b.html").write_text(f"<html><body>{english}</body></html>")
    monkeypatch.setattr(code9, "fetch_debian", lambda name, downloads: Package(name, "1", tmp_path))
    monkeypatch.setattr(code9, "PROJECTS", {"german": [Project("manual", r"doc/.*\.html$", "GPL-2", heldout=True)]})
    _, (package, found) = code9.source_files(tmp_path)
    files = list(found)
    assert package == "manual (german)"
    assert [file.source for file in files] == [f"manual 1: doc/a.html#{n}" for n in range(len(files))]
    assert len(files) == 3
    assert {(file.label, file.split, file.prose, file.licence) for file in files} == {
        ("german", "heldout", True, "GPL-2")
    }
    assert not any(b"package" in file.raw for file in files)
    assert set(HUMAN) < set(PROJECTS)

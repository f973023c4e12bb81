"""Static files: read at the start, named with a digest of their content, and therefore cached by browsers for good.

`VENDORED` lists the files that are not ours; each is the unchanged file of its npm package, with its license beside
it. To take a new version, run `npm pack PACKAGE@VERSION`, replace the files, and change the rows; a test compares them.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Iterable

FOLDER: Final = Path(__file__).with_name("static")
#: The folder of the files that are not ours.
OF_OTHERS: Final = FOLDER / "vendored"
#: Types by suffix. Other files of the folder are not served.
TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wav": "audio/wav",
    ".png": "image/png",
}
PREFIX: Final = "/static"
_FOREVER: Final = "public, max-age=31536000, immutable"


class Vendored(NamedTuple):
    """A file of somebody else: its npm package and version, its place there, its license (SPDX), and its SHA-256."""

    package: str
    version: str
    source: str
    license: str
    license_file: str
    sha256: str


_HTMX: Final = ("htmx.org", "4.0.1")
_UPLOT: Final = ("uplot", "1.6.32")
VENDORED: Final[dict[str, Vendored]] = {
    "htmx.min.js": Vendored(
        *_HTMX,
        "dist/htmx.min.js",
        "0BSD",
        "htmx.LICENSE",
        "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
    ),
    "hx-sse.min.js": Vendored(
        *_HTMX,
        "dist/ext/hx-sse.min.js",
        "0BSD",
        "htmx.LICENSE",
        "18ef2761356ec1fe0bb6d92612315b37517a7c1e9856b661c5ae81fef239d103",
    ),
    "uPlot.iife.min.js": Vendored(
        *_UPLOT,
        "dist/uPlot.iife.min.js",
        "MIT",
        "uPlot.LICENSE",
        "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    ),
    "uPlot.min.css": Vendored(
        *_UPLOT,
        "dist/uPlot.min.css",
        "MIT",
        "uPlot.LICENSE",
        "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    ),
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is sent."""

    url: str
    content_type: str
    content: bytes
    zipped: bytes


class StaticFiles:
    """The static files by their names."""

    def __init__(self, files: Iterable[Path]) -> None:
        self._files = {path.name: _read(path) for path in files if path.suffix in TYPES}
        self._by_url = {file.url: file for file in self._files.values()}

    def url(self, name: str) -> str:
        """Return the URL of a file, for templates; raises KeyError."""
        return self._files[name].url

    async def handle(self, raw: web.Request) -> web.Response:
        """Answer with a file, compressed if the browser takes that."""
        file = self._by_url.get(raw.path)
        if file is None:
            raise web.HTTPNotFound
        headers = {"Content-Type": file.content_type, "Cache-Control": _FOREVER, "Vary": "Accept-Encoding"}
        if "gzip" in raw.headers.get("Accept-Encoding", "") and len(file.zipped) < len(file.content):
            return web.Response(body=file.zipped, headers=headers | {"Content-Encoding": "gzip"})
        return web.Response(body=file.content, headers=headers)


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    digest = sha256(content).hexdigest()[:16]
    url = f"{PREFIX}/{path.stem}.{digest}{path.suffix}"
    return StaticFile(url, TYPES[path.suffix], content, gzip.compress(content, mtime=0))


def load_static() -> StaticFiles:
    """Return the files of the package, and those of others that are listed."""
    return StaticFiles([*sorted(FOLDER.iterdir()), *(OF_OTHERS / name for name in VENDORED)])

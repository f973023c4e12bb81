"""Static files: read at the start, named with a digest of their content, and therefore cached by browsers for good.

`VENDORED` lists the files that are not ours; each is the unchanged file of its npm package.
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
    """A file of somebody else: its package on npm, version, license, the file in the package, and its SHA-256."""

    package: str
    version: str
    license: str
    source: str
    sha256: str


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
    """Return the files of the package."""
    return StaticFiles(sorted(FOLDER.iterdir()))

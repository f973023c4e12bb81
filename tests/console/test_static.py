"""Static files: those of others as they were published, caching, compression, and the weight of a page."""

import gzip
import re
from hashlib import sha256

import pytest

from router.console.roles import Role
from router.console.static import FOLDER, OF_OTHERS, TYPES, VENDORED, load_static

#: Bytes of the first view, all files included.
MOST = 100_000
#: Statements of jinja, which are not part of the page.
STATEMENT = re.compile(r"\{%.*?%\}", re.DOTALL)
FORBIDDEN = re.compile(
    r"<script(?![^>]*\bsrc=)|<style|\sstyle\s*=|\son[a-z]+\s*=|hx-on|\bjs:|(?:src|href)=\"(?:https?:)?//"
)


@pytest.mark.parametrize("name", VENDORED)
def test_files_of_others_are_unchanged(name):
    """Each listed file has its checksum, and its license lies beside it."""
    row = VENDORED[name]
    assert sha256((OF_OTHERS / name).read_bytes()).hexdigest() == row.sha256
    assert row.source.rpartition("/")[2] == name
    words = {"0BSD": "Zero-Clause BSD", "MIT": "The MIT License"}[row.license]
    assert words in (OF_OTHERS / row.license_file).read_text(encoding="utf-8")


def test_every_file_of_others_is_listed():
    """Nothing lies in the folder that the table does not name."""
    licenses = {row.license_file for row in VENDORED.values()}
    assert {path.name for path in OF_OTHERS.iterdir()} == {*VENDORED, *licenses}


def test_no_file_of_ours_needs_what_the_policy_forbids():
    """Templates have no inline script, no inline style and no handler of events, and load nothing from elsewhere."""
    templates = sorted((FOLDER.parent / "templates").rglob("*.html"))
    assert len(templates) >= 5
    texts = {path.name: STATEMENT.sub("", path.read_text(encoding="utf-8")) for path in templates}
    wrong = [f"{name}: {found[0]}" for name, text in texts.items() for found in FORBIDDEN.finditer(text)]
    assert wrong == []


async def test_files_are_cached_for_good_and_compressed(visitors):
    """The name has a digest of the content, so browsers need not ask again; another digest is not found."""
    visitor = await visitors()
    url = load_static().url("console.css")
    status, headers, text = await visitor.get(url)
    assert (status, headers["Content-Type"]) == (200, "text/css; charset=utf-8")
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert headers["Content-Encoding"] == "gzip"
    assert text == (FOLDER / "console.css").read_text(encoding="utf-8")
    status, headers, _ = await visitor.get(url, headers={"Accept-Encoding": "identity"})
    assert (status, headers.get("Content-Encoding")) == (200, None)
    assert (await visitor.get(url.replace(".css", "0.css")))[0] == 404
    assert (await visitor.get("/static/htmx.LICENSE"))[0] == 404
    assert ".LICENSE" not in TYPES


async def test_the_first_view_is_light(visitors):
    """The account page with all that it loads stays below the limit, as sent."""
    visitor = await visitors(Role.OPERATOR)
    _, _, text = await visitor.get("/account")
    files = load_static()
    urls = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', text))
    assert {files.url("htmx.min.js"), files.url("console.css")} <= urls
    weight = len(text.encode())
    for url in urls:
        status, headers, content = await visitor.get(url)
        assert status == 200
        is_zipped = headers.get("Content-Encoding") == "gzip"
        weight += len(gzip.compress(content.encode())) if is_zipped else len(content.encode())
    assert weight < MOST

"""Pages as people see them and the same data as programs get them."""

from dataclasses import dataclass

import orjson

from tests.console.people import Visitor
from tests.support.html import read_html


@dataclass
class Reader:
    """Somebody who is signed in, and a program of the same role."""

    visitor: Visitor
    token: dict

    async def page(self, path, status=200):
        """Open a page; returns its content without the frame, as HTML."""
        found, headers, text = await self.visitor.get(path)
        assert (found, headers["Content-Type"]) == (status, "text/html; charset=utf-8"), text
        return read_html(text).one("main")

    async def json(self, path, status=200):
        """Return what a program gets."""
        found, headers, text = await self.visitor.get(path, headers=self.token | {"Accept": "application/json"})
        assert (found, headers["Content-Type"]) == (status, "application/json; charset=utf-8"), text
        return orjson.loads(text)

    async def press(self, path, form=None, status=200):
        """Send a form; returns the page that answers it, or where it leads to."""
        found, headers, text = await self.visitor.post(path, form)
        assert found == status, text
        return headers["Location"] if status == 303 else read_html(text).one("main")

    async def send(self, path, form=None, status=200):
        """Send a form as a program does; returns the data."""
        options = {"headers": self.token | {"Accept": "application/json"}, "json": form or {}}
        found, _, text = await self.visitor.request("POST", path, **options)
        assert found == status, text
        return orjson.loads(text)

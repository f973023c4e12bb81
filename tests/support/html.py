"""HTML as tests look at it: elements with their attributes and the text in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Elements that have no end tag.
VOID = frozenset({"input", "link", "meta", "br", "img", "hr", "source"})
#: Elements that stand within a line.
INLINE = frozenset({"a", "bdi", "code", "span", "strong", "time"})


@dataclass
class Element:
    """One element; `parts` are its texts and elements in their order."""

    tag: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    parts: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text in it, with single spaces."""
        return " ".join("".join(self._texts()).split())

    def _texts(self) -> Iterator[str]:
        for part in self.parts:
            if isinstance(part, str):
                yield part
            else:
                yield from part._texts()
                yield "" if part.tag in INLINE else " "

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Every element of a tag inside, with these attributes (`class_` holds one of the classes)."""
        return [one for one in self._elements() if one.tag == tag and one._has(attributes)]

    def one(self, tag: str, **attributes: str) -> Element:
        """The only element of a tag with these attributes."""
        (found,) = self.all(tag, **attributes)
        return found

    def _elements(self) -> Iterator[Element]:
        for part in self.parts:
            if isinstance(part, Element):
                yield part
                yield from part._elements()

    def _has(self, attributes: dict[str, str]) -> bool:
        wanted = dict(attributes)
        name = wanted.pop("class_", None)
        classes = (self.attributes.get("class") or "").split()
        return (name is None or name in classes) and all(self.attributes.get(one) == it for one, it in wanted.items())

    def rows(self) -> list[list[str]]:
        """The texts of the cells of all rows of table bodies inside."""
        bodies = self.all("tbody")
        return [
            [cell.text for cell in row.parts if isinstance(cell, Element)] for body in bodies for row in body.all("tr")
        ]

    def links(self) -> dict[str, str]:
        """The targets of all links inside by their text."""
        return {link.text: link.attributes.get("href") or "" for link in self.all("a")}

    def form(self, **attributes: str) -> dict[str, str]:
        """The fields of the only form with these attributes, as a browser sends them."""
        form = self.one("form", **attributes)
        return {one.attributes["name"] or "": one.attributes.get("value") or "" for one in form.all("input")}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("document")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].parts.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].parts.append(data)


def read_html(text: str) -> Element:
    """Return the document; AssertionError if an element is not closed in its order."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert [one.tag for one in reader.open] == ["document"]
    return reader.open[0]

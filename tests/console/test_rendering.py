"""Templates: texts are made visible, and what a form of the desk sends again is not altered."""

import re
from html import unescape

import pytest

from router.console.rendering import TEMPLATES, Renderer

#: Values that a form sends, and the texts of its fields.
_SENT = re.compile(
    r'<(?:input|option|button)\b[^>]*\bvalue="\{\{(.*?)\}\}"|<(?:textarea|option)\b[^>]*>\n?\{\{(.*?)\}\}'
)


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("desk*.html")), ids=lambda path: path.stem)
def test_a_form_of_the_desk_sends_what_it_was_given(template):
    """No field has a text in which characters were replaced by their escapes: sent again, it would be another text."""
    text = template.read_text(encoding="utf-8")
    given = [(one[1] or one[2]).strip() for one in _SENT.finditer(text)]
    assert [one for one in given if one != "frame.csrf" and not one.endswith("| exact")] == []


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ('a\u00a0b\tc\u200dd\u202ee "<&\n', 'a\u00a0b\tc\u200dd\u202ee "<&\n'),
        ("half \udcff", "half \\udcff"),
        (3, "3"),
        (None, ""),
    ],
    ids=["invisible", "half a character", "number", "nothing"],
)
def test_an_exact_value_is_escaped_only(given, shown):
    """Every character that a page can have stays; a text beside it is made visible as ever."""
    template = Renderer(str)._environment.from_string("{{ given | exact }}|{{ beside }}")
    rendered = template.render(given=given, beside="\u202e")
    assert "<" not in rendered
    rendered.encode()
    assert unescape(rendered) == f"{shown}|\\u202e"

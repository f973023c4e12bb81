"""Pages as HTML: jinja2 with everything escaped, and with characters that act or hide made visible.

What a person wrote into a form and sends again is not altered: it is escaped only (`| exact`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from router.core.printable import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.console.identity import Caller

TEMPLATES: Final = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class NavigationItem:
    """One link of the navigation."""

    label: str
    path: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame of every page: its title, who is signed in, and where else to go."""

    title: str
    caller: Caller
    path: str
    navigation: tuple[NavigationItem, ...] = ()

    @property
    def user(self) -> str:
        """The name of the user, empty before somebody has signed in."""
        return self.caller.user

    @property
    def role(self) -> str:
        """The role of the user."""
        return self.caller.role

    @property
    def csrf(self) -> str:
        """The token that each form must have."""
        return self.caller.csrf


class Renderer:
    """The templates; `static` returns the URL of a static file."""

    def __init__(self, static: Callable[[str], str]) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_finalize,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals["static"] = static
        self._environment.filters["exact"] = _exact

    def render(self, template: str, data: dict[str, Any], frame: Frame) -> str:
        """Return a page; in its template the keys of `data` are variables, and `frame` is the frame."""
        return self._environment.get_template(template).render({**data, "frame": frame})


def _finalize(given: Any) -> Any:
    """Make a text visible, line by line; None is nothing."""
    if given is None:
        return ""
    if isinstance(given, Markup) or not isinstance(given, str):
        return given
    return given if given.isprintable() else "\n".join(map(visible, given.split("\n")))


def _exact(given: Any) -> Markup:
    """Escape the value of a form's field and change nothing else; half a character, which UTF-8 lacks, is an escape."""
    return Markup() if given is None else escape(str(given).encode("utf-8", "backslashreplace").decode())

"""Signing in by a form or a link, signing out, and the page about one's own account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from router.console.identity import address_of, begin_session, end_session
from router.console.pages import Answer, Page, Parameter, Redirect, View
from router.console.passwords import is_full, is_right
from router.console.roles import HOMES, ConsoleError, Role
from router.logs import log

if TYPE_CHECKING:
    from router.console.request import ConsoleRequest
    from router.console.users import ConsoleUser

_WRONG: Final = "The name or the password is not right."
#: ms to wait while too many passwords are being compared.
_QUEUE_PAUSE: Final = 5000
_GONE: Final = "This link is used up, too old or not right. Ask for a new one."


async def show_form(request: ConsoleRequest) -> View:
    """Show the form."""
    return View({"next": local_path(request.query.get("next", "")), "message": "", "name": ""})


async def sign_in(request: ConsoleRequest) -> Answer:
    """Sign in with name and password; the answer is the same whether the user exists or not."""
    form = await request.form()
    name, password = form["name"], form["password"]
    ports, address = request.ports, address_of(request.raw, request.ports.settings)
    following = local_path(form.get("next", ""))
    user = ports.users.read().users.get(name)
    known = user.name if user else ""  # somebody may have typed the password here
    wait = 0 if is_full() else await ports.sign_ins.attempt(address, name)
    if is_full():  # by now, or before: then it is not counted
        wait = max(wait, _QUEUE_PAUSE)
    if wait:
        request.leave_no_note()
        seconds = -(-wait // 1000)
        log("console.sign_in", level="warning", result="too many attempts", user=known, address=address)
        message = f"There were too many attempts. Try again in {seconds} s."
        return View({"next": following, "message": message, "name": name}, status=429)
    if not await is_right(password, user.password if user else None) or user is None:
        if user is None:
            request.leave_no_note()
            await ports.sign_ins.secret()  # a round trip, as the note takes: the time of the answer names nobody
        log("console.sign_in", level="warning", result="wrong", user=known, address=address)
        return View({"next": following, "message": _WRONG, "name": name}, status=403)
    await ports.sign_ins.succeeded(address, name)
    return await _begin(request, user, following)


async def show_link(request: ConsoleRequest) -> View:
    """Show the button that uses a sign-in link: programs that look at links in passing must not use it up."""
    return View({"token": request.query.get("token", "")})


async def use_link(request: ConsoleRequest) -> Answer:
    """Sign in by a link."""
    form = await request.form()
    name, mark = await request.ports.sign_ins.take_link(form["token"]) or ("", "")
    user = request.ports.users.read().users.get(name)
    if user is None or user.mark != mark:  # removed or added once more since the link was made
        request.leave_no_note()
        address = address_of(request.raw, request.ports.settings)
        log("console.sign_in", level="warning", result="wrong link", user="", address=address)
        raise ConsoleError(403, _GONE)
    return await _begin(request, user, "")


async def _begin(request: ConsoleRequest, user: ConsoleUser, following: str) -> Redirect:
    log("console.sign_in", result="signed in", user=user.name, address=address_of(request.raw, request.ports.settings))
    request.acts_as(user.name, user.role)
    await end_session(request.raw, request.ports)
    request.new_cookie = await begin_session(user, request.ports)
    return Redirect(following or HOMES[user.role], {"user": user.name, "role": user.role})


async def sign_out(request: ConsoleRequest) -> Redirect:
    """End the session, for all consoles at once."""
    if request.caller.session_id:
        await request.ports.sign_ins.close(request.caller.session_id)
    request.new_cookie = ""
    return Redirect("/sign-in")


async def show_account(request: ConsoleRequest) -> View:
    """Show who is signed in."""
    return View({"user": request.user, "role": request.role})


def local_path(text: str) -> str:
    """Return a path of this console, empty for anything else: a link must not lead elsewhere after signing in."""
    is_local = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable() and "\\" not in text
    return text if is_local else ""


class SignInForm(BaseModel):
    """The form of the sign-in page."""

    name: str
    password: str
    next: str = ""


class LinkForm(BaseModel):
    """The form behind a sign-in link."""

    token: str


class SignedIn(BaseModel):
    """Who is signed in."""

    user: str
    role: Role


_NEXT: Final = (Parameter("next", "the path to go to afterwards"),)
_TOKEN: Final = (Parameter("token", "the secret part of the link"),)
PAGES: Final = (
    Page("GET", "/sign-in", show_form, None, "Sign in", "sign-in.html", query=_NEXT, is_public=True),
    Page("POST", "/sign-in", sign_in, None, "Sign in", "sign-in.html", body=SignInForm, is_public=True),
    Page("GET", "/sign-in/link", show_link, None, "Sign in", "sign-in-link.html", query=_TOKEN, is_public=True),
    Page("POST", "/sign-in/link", use_link, None, "Sign in", "sign-in-link.html", body=LinkForm, is_public=True),
    Page("POST", "/sign-out", sign_out, None, "Sign out"),
    Page("GET", "/account", show_account, None, "Account", "account.html", answer=SignedIn),
)

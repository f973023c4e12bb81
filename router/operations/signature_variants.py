"""Variants of a signature's input: what proxies, tunnels, settings and other signers change.

Each part (base URL, path, query, form, secret) has variants: those that the receiver accepts, with weight 0, and others
with weight and advice for the operator. A base URL consists of scheme, host, port and prefix; its weight is the number
of those that differ. Rules: https://www.twilio.com/docs/usage/security#validating-requests
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from itertools import islice, permutations, product
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote_plus, unquote, unquote_plus, urlsplit

from router.core.signing.form import Form, signed
from router.core.signing.twilio import base_urls, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from router.core.accounts import Account, Accounts
    from router.core.signing.form import Pair

Pairs = list["Pair"]

#: The most query parameters of which every order is tried: 5 would have 120.
MAX_ORDERED: Final = 4
#: Proxies in a row whose headers are tried, and hosts that all headers name together: each multiplies the combinations.
MAX_PROXIES: Final = 3
#: Characters of a part of a base URL that is tried. A host has at most 253.
MAX_LENGTH: Final = 255
_ALGORITHMS: Final = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
_DIGEST: Final = "bodySHA256="
#: Headers in which a proxy passes on the requested host; of several values the first MAX_PROXIES are tried.
_HOSTS: Final = ("host", "x-forwarded-host", "x-original-host")
_PORTS: Final = ("", ":443", ":80")


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of a part; `advice` is empty for what the receiver accepts."""

    value: bytes
    advice: str = ""
    weight: int = 0


@dataclass(frozen=True, slots=True)
class Secret:
    """A key and a digest that may have signed; `label` names the key without revealing it."""

    label: str
    key: bytes
    digest: str
    advice: str = ""
    weight: int = 0


def bases(public_base_url: str, headers: Mapping[str, str]) -> list[Variant]:
    """Return the base URLs for which a request with these headers (names in lower case) may have been signed."""
    accepted = base_urls(public_base_url)
    own = urlsplit(accepted[0].decode())
    host, port = _split_port(own.netloc)
    strange = dict.fromkeys(each for each in _named_hosts(headers) if each and each != own.netloc)
    named = [_split_port(each) for each in islice(strange, MAX_PROXIES)]
    schemes = _distinct(own.scheme, "https", "http")
    hosts = _distinct(host, host.lower(), *(name for name, _ in named))
    forwarded = [f":{each}" for each in _values(headers, "x-forwarded-port") if each.isdecimal()]
    ports = _distinct(port, *_PORTS, *(each for _, each in named), *forwarded)
    prefixes = _distinct(own.path, "", *(each.rstrip("/") for each in _values(headers, "x-forwarded-prefix")))
    found: dict[bytes, Variant] = {base: Variant(base) for base in accepted}
    for parts in product(schemes, hosts, ports, prefixes):
        scheme, name, number, prefix = parts
        base = f"{scheme}://{name}{number}{prefix}"
        wrong = [
            word
            for word, part, right in zip(
                ("scheme", "host", "port", "path prefix"), parts, (own.scheme, host, port, own.path), strict=True
            )
            if part != right
        ]
        advice = (
            f"it was signed for {base}, other {', '.join(wrong)} than PUBLIC_BASE_URL: set PUBLIC_BASE_URL={base}, "
            f"or configure the URL that begins with {accepted[0].decode()} at Twilio"
        )
        found.setdefault(base.encode("utf-8", "surrogateescape"), Variant(base.encode(), advice, len(wrong)))
    return list(found.values())


def _named_hosts(headers: Mapping[str, str]) -> Iterator[str]:
    for name in _HOSTS:
        yield from _values(headers, name)
    for value in _values(headers, "forwarded"):
        for part in value.split(";"):
            name, _, host = part.strip().partition("=")
            if name.lower() == "host":
                yield host.strip('"')


def _values(headers: Mapping[str, str], name: str) -> list[str]:
    """Return the values of a header that each proxy may have added to, the one nearest to the caller first."""
    return [value.strip() for value in headers.get(name, "").split(",", MAX_PROXIES)[:MAX_PROXIES]]


def _split_port(authority: str) -> tuple[str, str]:
    """Split `host:port` into `host` and `:port`; an IPv6 literal keeps its colons."""
    host, colon, port = authority.rpartition(":")
    return (host, f":{port}") if colon and port.isdecimal() else (authority, "")


def _distinct(*values: str) -> list[str]:
    """Return the distinct ASCII values of at most MAX_LENGTH, in order."""
    return [value for value in dict.fromkeys(values) if value.isascii() and len(value) <= MAX_LENGTH]


def paths(path: bytes) -> list[Variant]:
    """Return the paths that may have been signed."""
    bare = path.rstrip(b"/")
    text = "the URL at Twilio {} at the end, which is changed on the way: configure it as {}"
    found = [Variant(path)]
    if path != bare:
        found.append(Variant(bare, text.format("has no slash", path.decode("utf-8", "backslashreplace")), 1))
    else:
        found.append(Variant(path + b"/", text.format("has a slash", path.decode("utf-8", "backslashreplace")), 1))
    return found


def _decode(text: str) -> str:
    return unquote(text, errors="surrogateescape")


def _decode_plus(text: str) -> str:
    return unquote_plus(text, errors="surrogateescape")


def _encode(text: str) -> str:
    return quote_plus(text, errors="surrogateescape")


def _each(query: str, *steps: Callable[[str], str]) -> str:
    def change(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    parts = [part.partition("=") for part in query.split("&")]
    return "&".join(f"{change(name)}{equals}{change(value)}" for name, equals, value in parts)


def _without(query: str, start: str) -> str:
    return "&".join(part for part in query.split("&") if not part.startswith(start))


def _only(query: str, start: str) -> str:
    return "&".join(part for part in query.split("&") if part.startswith(start))


#: Changes to a query between the signer and here, with the advice for each.
_QUERIES: Final[tuple[tuple[Callable[[str], str], str], ...]] = (
    (_decode, "the query was signed decoded: the signer must sign it as it is on the wire"),
    (_decode_plus, "the query was signed decoded: the signer must sign it as it is on the wire"),
    (lambda query: query.replace("+", "%20"), "spaces of the query are + here and %20 at Twilio: use +"),
    (lambda query: query.replace("%20", "+"), "spaces of the query are %20 here and + at Twilio: use %20"),
    (lambda query: _each(query, _encode), "the query was encoded twice by the signer"),
    (lambda query: _each(query, _decode_plus, _encode), "the query is encoded differently on the way"),
    (lambda query: "&".join(sorted(query.split("&"))), "the query was signed with its parameters sorted"),
    (lambda query: _without(query, _DIGEST), "the query was signed without its bodySHA256"),
    (lambda _: "", "the URL was signed without its query"),
    (lambda query: _only(query, _DIGEST), "parameters were added to the query on the way"),
)


def queries(query: bytes, body_digest: str) -> list[Variant]:
    """Return the queries that may have been signed, with question marks; `body_digest` is of the received body."""
    text = query.decode("utf-8", "surrogateescape").removeprefix("?")
    found = {text: ""}
    for change, advice in _QUERIES:
        found.setdefault(change(text), advice)
    if _DIGEST not in text:
        lost = "the URL that was signed has a bodySHA256, which is missing here: the query is changed on the way"
        found.setdefault("&".join(part for part in (text, _DIGEST + body_digest) if part), lost)
    parts = text.split("&")
    if 1 < len(parts) <= MAX_ORDERED:
        for order in permutations(parts):
            advice = "the query is in another order here than at Twilio, which sorts it: use alphabetical order"
            found.setdefault("&".join(order), advice)
    found.pop(text)
    others = [(f"?{each}".encode("utf-8", "surrogateescape") if each else b"", found[each]) for each in found]
    return [Variant(query), *(Variant(each, advice, 1) for each, advice in others)]


def _normalized(form: Literal["NFC", "NFD"]) -> Callable[[bytes], bytes]:
    def change(value: bytes) -> bytes:
        text = value.decode("utf-8", "surrogateescape")
        return unicodedata.normalize(form, text).encode("utf-8", "surrogateescape")

    return change


def _leave_out(*names: bytes) -> Callable[[Pairs], Pairs]:
    return lambda pairs: [(name, value) for name, value in pairs if name not in names]


def _change(step: Callable[[bytes], bytes]) -> Callable[[Pairs], Pairs]:
    return lambda pairs: [(name, step(value)) for name, value in pairs]


#: Changes to a form between the signer and here, or by a signer other than Twilio, with the advice for each.
_FORMS: Final[tuple[tuple[Callable[[Pairs], Pairs], str], ...]] = (
    (_change(bytes.strip), "values were signed without surrounding white space"),
    (lambda pairs: [pair for pair in pairs if pair[1]], "empty parameters were left out of the signature"),
    (lambda pairs: list(dict(pairs).items()), "of repeated parameters only the last was signed"),
    (lambda pairs: list(dict(reversed(pairs)).items()), "of repeated parameters only the first was signed"),
    (_leave_out(b"CallToken"), "CallToken was not there when it was signed"),
    (_leave_out(b"StirVerstat"), "StirVerstat was not there when it was signed"),
    (_leave_out(b"CallToken", b"StirVerstat"), "CallToken and StirVerstat were not there when it was signed"),
    (_change(lambda value: value.replace(b"\r\n", b"\n")), "line ends are CRLF here and were LF when it was signed"),
    (
        _change(lambda value: value.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")),
        "line ends are LF here and were CRLF when it was signed: they are changed on the way",
    ),
    (_change(lambda value: value.replace(b" ", b"+")), "plus signs of the form became spaces on the way"),
    (_change(_normalized("NFC")), "accents are written decomposed here, and were composed when it was signed"),
    (_change(_normalized("NFD")), "accents are written composed here, and were decomposed when it was signed"),
    (lambda _: [], "only the URL was signed, nothing of the form"),
)


def forms(pairs: Pairs) -> list[Variant]:
    """Return the variants of a form, each as it enters the signature."""
    found = {signed(pairs): "", signed(Form(None, pairs).replaced() or pairs): ""}
    for change, advice in _FORMS:
        found.setdefault(signed(change(pairs)), advice)
    return [Variant(tail, advice, int(bool(advice))) for tail, advice in found.items()]


def secrets(accounts: Accounts, named: Account | None, settings: str | None) -> Iterator[Secret]:
    """Yield the keys that may have signed a webhook of account `named` (None: of any), given its settings header.

    Weight 0 have those that the receiver tries: the shared key that the header names, else the account's tokens, with
    the algorithm that the header states.
    """
    stated = read_settings(settings)
    for account in accounts:
        is_ours = named is None or account.sid == named.sid
        foreign = "" if is_ours else ", but the webhook names another account, whose own token must sign"
        for position, token in enumerate(account.tokens, 1):
            label = f"auth token {position} of account {account.sid}"
            for algorithm, digest in _ALGORITHMS.items():
                problems = [f"it was signed with {label}{foreign}"] if foreign else []
                if stated.key:
                    problems.append(f"its header names a shared key, but {label} signed it")
                elif stated.algorithm != algorithm:
                    problems.append(
                        f"it was signed by {algorithm} with {label}, but auth tokens sign by HMAC_SHA1 only"
                        if settings is None
                        else f"{label} signed it by {algorithm}, but its header names another algorithm"
                    )
                yield Secret(label, token.encode(), digest, "; ".join(problems), len(problems))
        for key_id, secret in account.shared_keys.items():
            label = f"shared key {key_id} of account {account.sid}"
            for algorithm, digest in _ALGORITHMS.items():
                problems = [f"it was signed with {label}{foreign}"] if foreign else []
                if stated.key != key_id:
                    problems.append(f"{label} signed it, but no header names that key: the header was lost on the way")
                elif stated.algorithm != algorithm:
                    problems.append(f"{label} signed it by {algorithm}, but its header names another algorithm")
                yield Secret(label, secret.encode(), digest, "; ".join(problems), len(problems))

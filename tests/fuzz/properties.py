"""The properties of each parser for any bytes: only declared errors, and results that Redis and logs can store.

Each function takes bytes and returns, or raises, which is a finding. The functions need no test framework.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import ValidationError

from handlers.consume import account_of, subject_of
from router.conversations.responses import RawResponse, parse_retry_after, to_error, to_model, to_response
from router.core import refused as quarantine
from router.core.accounts import Account, Accounts
from router.core.addresses import Channel, canonicalize, mask, parse_address
from router.core.entries import read_entry
from router.core.errors import (
    ServerError,
    SettingsError,
    SignatureError,
    UnreadableError,
    UnusableError,
    WrongTypeError,
)
from router.core.events import InboundEntry
from router.core.formats import OtherFormatError
from router.core.keys import MAX_KEY, Keys
from router.core.ledger.ledger import Ledger
from router.core.ledger.packing import pack_marker, read_marker
from router.core.resources import Communication, Conversation, Participant
from router.core.routing.commands import COMMANDS, read_command
from router.core.routing.handoff_data import read_handoff_data, request_of
from router.core.routing.holding import MAX_CONTEXT, HandoffRequest, measure_context
from router.core.routing.queues import DEFAULT_QUEUE, find_circle
from router.core.routing.team import Team
from router.core.signing.form import MAX_PARAMETERS, NO_FORM, parse_form, signed
from router.core.signing.mail import BasicVerifier, MailVerifier
from router.core.signing.twilio import Verifier
from router.core.timestamps import to_microseconds
from router.core.voice.templates import NAMES, read_templates
from router.inbound.email.headers import read_ids, without_comments
from router.inbound.email.inbound_parse import MAX_RECIPIENTS, MAX_TEXT, MailReader
from router.inbound.email.mail import ReceivedMail, read_mail
from router.inbound.email.multipart import MultipartReader, boundary_of
from router.inbound.email.parser import identify
from router.inbound.email.raw_mail import RawMailReader
from router.inbound.email.text import decode, decode_header, html_to_text
from router.inbound.sources import SOURCES, normalize
from router.inbound.webhook import Webhook
from router.operations import redaction
from router.operations.request_text import parse_request
from router.operations.signatures import SignedRequest, explain
from router.settings.accounts_file import read_accounts
from router.settings.policy_file import read_policy
from router.settings.team_file import read_team
from router.streams.client.url import ServerKind, parse_redis_url
from router.streams.delivery import Delivery, StreamRef
from router.worker.commander import command_subject
from router.worker.work import read_inbound

if TYPE_CHECKING:
    from router.core.events import Identity, SourceName

ACCOUNT = "AC00000000000000000000000000000001"
BOUNDARY = b"xYzZY"
_KEYS = Keys()
_VERIFIER = Verifier((b"https://h",), ("0" * 32,), {"key": "secret"})
_ACCOUNTS = Accounts([Account(ACCOUNT, ("0" * 32,))])
#: Between the two files of a team.
_CUT = "\n----\n"
#: Consecutive digits that reveal a number.
_REVEALING = 8


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _check_written(*texts: str | None) -> None:
    """Texts for Redis, JSON or a header can be encoded."""
    for text in texts:
        (text or "").encode()


def _check_identity(identity: Identity) -> None:
    """The names of an identity can be keys: in one hash slot, and of bounded length."""
    _check_written(identity.account_id, identity.key, identity.subject, *identity.aliases)
    for key in (_KEYS.seen(0, identity.key), _KEYS.route(identity.account_id, identity.subject)):
        assert len(key) <= MAX_KEY
        assert key.startswith("router:{0}:")


def source(name: SourceName, data: bytes) -> None:
    """Every piece of a webhook can be normalized, or is refused with a declared error."""
    read = NO_FORM
    with suppress(UnreadableError):
        read = parse_form(data)
    row = SOURCES[name]
    with suppress(UnreadableError):
        pieces = row.split(Webhook(data, read, None), ACCOUNT)
        again = row.split(Webhook(data, read, None), ACCOUNT)
        assert pieces == again, "the same bytes must be the same events"
        for piece in pieces:
            _check_identity(piece.identity)
            settle(name, piece.body)
    settle(name, data)


def settle(name: str, body: bytes) -> None:
    """An inbound entry becomes an event or a declared error."""
    with suppress(UnreadableError, UnusableError):
        event = normalize(InboundEntry("1-0", name, ACCOUNT, "k", "s", 0, body))
        _check_written(event.account_id, event.cause.event_type, event.cause.resource_id)


def form(data: bytes) -> None:
    """A form has a bounded number of parameters, which can be decoded or are refused."""
    with suppress(UnreadableError):
        read = parse_form(data)
        assert len(read) <= MAX_PARAMETERS
        assert read.signed() == signed(read)
        _check_written(*read.read().values())


def mail(data: bytes) -> None:
    """A mail is the same in chunks of any size, has bounds, and can be read from its JSON."""
    whole, chopped = _read_mail(data, len(data) or 1), _read_mail(data, 7)
    assert whole == chopped, "the chunks change the result"
    if isinstance(whole, str):
        return
    assert 0 < len(whole) <= MAX_RECIPIENTS
    for one in whole:
        assert len(one.text.encode()) <= MAX_TEXT
        assert read_mail(one.to_body(), None) == one
        assert read_mail(one.to_own_body(), one.to_shared_body()) == one
        _check_identity(identify(one, account_id=ACCOUNT))
        settle("email", one.to_body())


def _read_mail(data: bytes, step: int) -> tuple[ReceivedMail, ...] | str:
    try:
        reader = MailReader(f"multipart/form-data; boundary={BOUNDARY.decode()}")
        for start in range(0, len(data), step):
            reader.feed(data[start : start + step])
        return reader.finish()
    except UnreadableError:
        return "unreadable"


def raw_mail(data: bytes) -> None:
    """A raw mail is read without errors, and is the same in chunks of any size."""
    found = []
    for step in (len(data) or 1, 5):
        reader = RawMailReader(1000)
        for start in range(0, len(data), step):
            reader.write(data[start : start + step])
        reader.finish()
        leaves = [leaf for leaf in (reader.text, reader.html, *reader.parts) if leaf is not None]
        _check_written(*(leaf.filename for leaf in leaves), *(leaf.content_type for leaf in leaves))
        found.append((reader.headers.items(), [(leaf.content_type, leaf.size, leaf.content()) for leaf in leaves]))
    assert found[0] == found[1], "the chunks change the result"


def multipart(data: bytes) -> None:
    """Any content type and body are read or refused with a declared error."""
    head, _, body = data.partition(b"\n")
    with suppress(UnreadableError, WrongTypeError):
        assert boundary_of(_text(head))
    with suppress(UnreadableError, WrongTypeError):
        reader = MultipartReader(_text(head), lambda header: _check_written(header.name, header.filename) or len)
        reader.feed(body)
        reader.finish()


def mail_text(data: bytes) -> None:
    """Any text of a mail is read, and the result can be encoded."""
    head, _, rest = data.partition(b"\n")
    for is_cut in (False, True):
        _check_written(decode(rest, _text(head), is_cut=is_cut).text)
    text = decode(data, None).text
    _check_written(decode_header(text), html_to_text(text))
    for read in (without_comments, read_ids):
        assert read(read(text)) == read(text), "a comment is left"


def signature(data: bytes) -> None:
    """No bytes without our secrets have a valid signature."""
    path, _, rest = data.partition(b"\n")
    header, _, body = rest.partition(b"\n")
    for settings in (None, _text(header)):
        with suppress(SignatureError):
            _VERIFIER.verify_json(path, body, _text(header), settings)
            raise AssertionError("junk must not be a valid signature")
        with suppress(SignatureError, UnreadableError):
            _VERIFIER.verify_form(path, parse_form(body), _text(header), settings)
            raise AssertionError("junk must not be a valid signature")


def proof_of_mail(data: bytes) -> None:
    """No header without our secrets is a valid signature of a mail or a password."""
    head, _, rest = data.partition(b"\n")
    with suppress(SignatureError):
        running = MailVerifier([], max_age=None).begin(_text(head), _text(rest), now=0.0)
        running.update(rest)
        running.finish()
        raise AssertionError("junk must not be a valid signature")
    with suppress(SignatureError):
        BasicVerifier(("user:a long password",)).verify(_text(data))
        raise AssertionError("junk must not be a valid password")


def explanation(data: bytes) -> None:
    """Explaining a refusal never fails, and never calls junk valid."""
    path, _, rest = data.partition(b"\n")
    header, _, body = rest.partition(b"\n")
    for is_form in (True, False):
        headers = {"x-twilio-signature": _text(header), "x-twilio-webhooks-signature-settings": "key=key"}
        result = explain(SignedRequest(path, headers, body, is_form), "https://h", _ACCOUNTS)
        assert not result.is_right
        assert all(redaction.plain(line).isprintable() for line in result.lines)  # as the command shows them


def address(data: bytes) -> None:
    """Any text is an address; its canonical form is stable, and its masked form reveals no number."""
    text = data.decode("utf-8", "replace")
    parsed = parse_address(text)
    for channel in (*Channel, parsed.channel):
        once = canonicalize(channel, text)
        assert canonicalize(channel, once) == once
    shown = mask(text)
    run = 0
    for character in shown.rpartition("@")[2] if "@" in text else shown:
        run = run + 1 if character.isdigit() else 0
        assert run < _REVEALING, "a number is revealed"


def request_text(data: bytes) -> None:
    """A pasted text is a request or a ValueError; what is shown of its body is printable."""
    with suppress(ValueError):
        request = parse_request(data)
        kind = request.headers.get("content-type", "")
        for line in (*redaction.shown_body(kind, request.body), redaction.masked_path(request.raw_path)):
            assert line.isprintable()


def redacted(data: bytes) -> None:
    """Any bytes can be shown to an operator, with any content type."""
    for kind in ("application/x-www-form-urlencoded", "application/json", "text/plain"):
        for line in redaction.shown_body(kind, data):
            assert line.isprintable()
    assert redaction.masked_path(data).isprintable()


def quarantined(data: bytes) -> None:
    """An entry of the quarantine is read as far as possible, and its body is unchanged."""
    names = (b"source", b"reason", b"detail", b"status", b"received_at", b"method", b"path", b"headers", b"body")
    refused = quarantine.from_fields(dict(zip(names, data.split(b"\n"), strict=False)) | {b"is_whole": b"1"})
    fields = {name.encode(): value for name, value in refused.to_fields().items()}
    assert quarantine.from_fields(fields).body == refused.body
    assert refused.digest == refused.digest


def published(data: bytes) -> None:
    """A consumer reads an entry or raises ValidationError; finding its subject never fails."""
    delivery = Delivery(StreamRef(0, "s"), "1-0", {b"event": data})
    subject_of(delivery)
    with suppress(LookupError, ValueError, TypeError):
        account_of(delivery)
    with suppress(ValidationError):
        entry = read_entry(data)
        _check_written(entry.id, entry.subject)


def inbound(data: bytes) -> None:
    """An inbound entry with any fields becomes an event or a declared error."""
    names = (b"source", b"account", b"key", b"subject", b"received_at", b"body")
    fields = dict(zip(names, data.split(b"\n", len(names) - 1), strict=False))
    entry = read_inbound(Delivery(StreamRef(0, "s"), "1-0", fields), {})
    _check_written(entry.source, entry.account_id, entry.key, entry.subject)
    settle(entry.source, entry.body)


def ledger(data: bytes) -> None:
    """A marker of a ledger is read, raises ValidationError, or is of another release."""
    with suppress(ValidationError, OtherFormatError):
        found = Ledger("router", ACCOUNT, "c", {"p:x": data.decode("utf-8", "replace")}).marker("x")
        assert found is None or read_marker("".join(filter(None, pack_marker(found)))) == found


def answer(data: bytes) -> None:
    """Any response of the API is a resource, or a declared error that can be logged."""
    status, body = (data[0] * 2 if data else 200), data[1:]
    raw = RawResponse("GET /x", status, {"Retry-After": _text(body), "Date": _text(body)}, body)
    _check_written(str(to_error(raw, now=0.0)))
    wait = parse_retry_after(_text(body), 0.0)
    assert wait is None or 0 <= wait <= 86_400
    with suppress(ServerError):
        found = to_response(RawResponse("GET /x", 200, {}, body))
        for model in (Participant, Conversation, Communication):
            with suppress(ServerError):
                to_model(model, found.data, route="GET /x")


def settings_file(data: bytes) -> None:
    """An operator's file is valid, or a SettingsError lists its problems."""
    text = data.decode("utf-8", "replace")
    for read in (read_policy, read_accounts):
        with suppress(SettingsError):
            read(text)


def team_files(data: bytes) -> None:
    """The people and queues of any two texts are valid, or a SettingsError lists their problems."""
    roster, _, routing = data.decode("utf-8", "replace").partition(_CUT)
    with suppress(SettingsError):
        team = read_team(roster, routing)
        assert team.members
        assert find_circle(team.queues) is None
        for name in (*team.queues, DEFAULT_QUEUE, "another"):
            assert team.queue(name).patience >= 0


def command(data: bytes) -> None:
    """A command is read or unusable, with a reason that Redis and a log can take; what is read decides its place."""
    kind, _, document = data.partition(b"\n")
    fields = {b"type": kind, b"id": b"i", b"command": document}
    command_subject(Delivery(StreamRef(0, "s"), "1-0", fields))
    try:
        found = read_command(fields)
    except UnusableError as error:
        _check_written(str(error))
        return
    _check_written(found.type, found.id, found.subject)
    assert found.type in COMMANDS
    assert 0 <= _KEYS.partition_of(found.subject) < _KEYS.partitions
    assert json.loads(json.dumps(found.raw)) == found.raw, "the answer to a refused one shows it"


def handoff_data(data: bytes) -> None:
    """Whatever the AI agent of a call writes makes a request that Redis and every reader take."""
    found = read_handoff_data(_text(data), Team())
    request = request_of(found, home="a/c", key="k", now=1)
    _check_written(request.reason, request.summary, request.model_dump_json())
    assert (request.queue, request.skills) == (DEFAULT_QUEUE, ())
    assert request.context is None or measure_context(request.context) <= MAX_CONTEXT
    assert HandoffRequest.model_validate_json(request.model_dump_json()) == request


def redis_url(data: bytes) -> None:
    """An operator's URL names valid servers, or is a ValueError."""
    try:
        url = parse_redis_url(data.decode("utf-8", "replace"))
    except ValueError:
        return
    assert bool(url.nodes) == (url.kind is not ServerKind.SERVER)
    assert all(host and 0 < port < 65536 for host, port in url.nodes)


def template(data: bytes) -> None:
    """A TwiML template is valid or refused; a valid one gives bytes for any caller."""
    with suppress(SettingsError):
        read_templates({f"{name}.xml": data for name in NAMES}, {}).answer(None, {"from": _text(data)})


def moment(data: bytes) -> None:
    """Any text is a time or None."""
    found = to_microseconds(data.decode("utf-8", "replace"))
    assert found is None or isinstance(found, int)

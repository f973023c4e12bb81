"""The table of fuzz targets: the fuzzed parsers, and the seeds that mutation starts from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from router.core.events import SourceName
from tests.fuzz import properties
from tests.inbound.email.mails import make_body
from tests.inbound.samples import FOLDER, encode_form, load
from tests.receiver.samples import SAMPLES
from tests.support.source import SHIPPED

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


@dataclass(frozen=True)
class Target:
    """One parser: an exception of `check` is a finding; `seeds` are bytes that reach most of its code."""

    name: str
    check: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def _json(*prefixes: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(FOLDER.glob("*.json")) if path.stem.startswith(prefixes))


def _forms(*names: str) -> tuple[bytes, ...]:
    return tuple(encode_form(load(name)) for name in names)


def _files(pattern: str) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(SHIPPED.glob(pattern)))


_MESSAGES = _forms("sms", "mms", "whatsapp", "rcs", "messenger", "message_status")
_CALLS = _forms("call")
_CLASSIC = _forms("classic_message_added", "classic_participant_added", "classic_state_updated")
_CALLBACKS = _json("communication_", "conversation_", "participant_")
_STREAMED = _json("es_")
_BATCH = b"[" + b",".join(_STREAMED) + b"]"
_MAIL = make_body()
_RAW = (
    b"Message-ID: <m@h>\r\nContent-Type: multipart/mixed; boundary=b (\\(x)\r\n\r\n--b\r\n"
    b"Content-Type: text/(a (b))plain; charset=utf-7\r\n\r\nhi\r\n--b\r\n"
    b"Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>=C3=A4</p>\r\n--b\r\n"
    b"Content-Disposition: attachment; filename*0*=utf-8''a; filename*1=\"b\"\r\n\r\nx\r\n--b--\r\n"
)
_TYPE = b"multipart/form-data; boundary=xYzZY\n"
_SIGNED = b"/webhooks/x?bodySHA256=%s\nkey=key,algorithm=HMAC_SHA256\n{}" % (b"0" * 64)
_REQUEST = (
    b'POST /webhooks/messaging?a=1 HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"a":[1]}'
)
_ENTRY = (
    b'{"specversion":"1.0","id":"i","type":"participant.left","source":"s","subject":"p","time":"t","data":{"target":"a",'
    b'"reason":"r","account_id":"AC1","conversation":{"id":"c"},"cause":{"source":"s","event_type":"e","idempotency_key":'
    b'"k","received_at":"t"},"channel":"SMS","address":"+1","participant":{"id":"p","conversation_id":"c","account_id":"a"}}}'
)

_TEAM = (
    b'[[agent]]\nidentity = "dana"\nname = "Dana"\ncapacity = 3\nskills = ["german"]\nchannels = ["SMS"]\nwrap_up = 5\n'
    b'addresses = { SMS = "+15551230009" }\n\n----\n[[queue]]\nname = "late"\naccept = "automatic"\nring = 30\n'
    b'priority = 2\noverflow = "default"\nholidays = ["2026-12-25"]\nrelax = [{ after = 30, drop = ["german"] }]\n'
    b'hours = [{ days = ["mon"], from = "22:00", to = "06:00", time_zone = "Europe/Berlin" }]\n'
    b'[people]\nunits = { VOICE = "all", SMS = 2 }\nafter_added = "late"\n'
)
_COMMANDS = tuple(
    b'%s\n{"specversion":"1.0","id":"i","source":"s","type":"command.%s","data":%s}' % (kind, kind, data)
    for kind, data in (
        (
            b"handoff.request",
            b'{"conversation":"c","reason":"r","summary":"s","context":{"a":[1,{"b":null}]},"skills":["x"],"priority":2}',
        ),
        (b"offer.accept", b'{"offer":"AC1/c/7.1","agent":"dana"}'),
        (b"conversation.say", b'{"conversation":"c","agent":"dana","epoch":1,"text":"hi"}'),
        (b"conversation.transfer", b'{"conversation":"c","agent":"dana","epoch":1,"to":{"queue":"late"},"note":"n"}'),
        (b"agent.available", b'{"agent":"dana","life":60,"skills":[],"channels":["SMS"]}'),
    )
)

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        *(
            Target(name.value, partial(properties.source, name), (sample().body, *more))
            for name, sample, more in (
                (SourceName.MESSAGING, SAMPLES[SourceName.MESSAGING], _MESSAGES),
                (SourceName.VOICE, SAMPLES[SourceName.VOICE], _CALLS),
                (SourceName.CONVERSATIONS, SAMPLES[SourceName.CONVERSATIONS], _CALLBACKS),
                (SourceName.CLASSIC, SAMPLES[SourceName.CLASSIC], _CLASSIC),
                (SourceName.EVENT_STREAMS, SAMPLES[SourceName.EVENT_STREAMS], (*_STREAMED, _BATCH)),
            )
        ),
        Target("form", properties.form, (*_MESSAGES, b"a=%ff&b=+&&=&%zz=1")),
        Target("mail", properties.mail, (_MAIL, make_body(rawEmail=_RAW.decode()))),
        Target("raw-mail", properties.raw_mail, (_RAW,)),
        Target("multipart", properties.multipart, (_TYPE + _MAIL, b'multipart/form-data; boundary="b;b"\n--b;b--')),
        Target(
            "mail-text", properties.mail_text, (b"utf-7\n+AOQ-", b'=?utf-8?b?w6Q=?= <p>&#228;<br>&amp;</p>"(\\"(a(')
        ),
        Target("signature", properties.signature, (_SIGNED,)),
        Target("proof-of-mail", properties.proof_of_mail, (b"1767787200\nTUVVQ0lRRA==", b"Basic dXNlcjpwYXNz")),
        Target("explanation", properties.explanation, (_SIGNED, b"/w\nAAAA=\n" + _MESSAGES[0])),
        Target(
            "address", properties.address, (b"whatsapp:+15551230001", b"Ana <ana@example.com>", b"sip:a@+1 (555) 123")
        ),
        Target("request-text", properties.request_text, (_REQUEST,)),
        Target("redaction", properties.redacted, (_MESSAGES[0], *_CALLBACKS[:1], b"/a?bodySHA256=0&b=%2B15551230001")),
        Target("quarantine", properties.quarantined, (b'm\nsignature\nd\n403\n1\nPOST\n/w\n[["A","b"]]\nbody',)),
        Target("published", properties.published, (_ENTRY,)),
        Target("inbound", properties.inbound, (b"messaging\nAC1\nk\ns\n1\n" + _MESSAGES[0],)),
        Target(
            "ledger", properties.ledger, (b'{"version":[1,2],"digest":"d","type":"CUSTOMER","addresses":["SMS|+1"]}',)
        ),
        Target("answer", properties.answer, (b"\xc8" + b'{"code":20404,"message":"no"}', b"\xd2120", *_CALLBACKS[:2])),
        Target("settings-file", properties.settings_file, _files("*.toml")),
        Target("team", properties.team_files, (_TEAM, b"\n----\n".join(_files("ro[su]t*.toml")))),
        Target("command", properties.command, _COMMANDS),
        Target(
            "handoff-data",
            properties.handoff_data,
            (b'{"reasonCode": "live", "queue": "a", "skills": ["b"], "priority": 1, "c": {"d": 1e9}}', b'"\\ud83d"'),
        ),
        Target(
            "redis-url",
            properties.redis_url,
            (b"redis+sentinel://u:p%40@s1:26379,[::1]/primary/2?sentinel_password=x", b"rediss+cluster://n1,n2:6380"),
        ),
        Target(
            "template",
            properties.template,
            (*_files("voice/*.xml"), b'<?xml version="1.0" encoding="UTF-6"?><Response/>'),
        ),
        Target("moment", properties.moment, (b"2026-01-07T12:00:00.123Z", b"20260107T120000+0100")),
    )
}

#: Inputs that parsers often fail on.
NASTY = (
    b"",
    b"\0",
    b"\r\n",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\xe2\x80\xa8",
    b"\x1b[31m",
    b"9" * 5000,
    b"-1",
    b"1e999",
    b"[" * 300,
    b'{"a":' * 300,
    b'"id":"x",',
    b"&" * 1100,
    b"%",
    b"%00",
    b"null",
    b"true",
    b"{}",
    b"[]",
    b'""',
    b";" * 300,
    b"<" * 300,
    b"&#x110000;",
    b"&#" + b"9" * 5000,
    b"=?a?b?=?=",
    b"\xd9\xa1\xd9\xa2",
    b"whatsapp:" * 50,
)


@st.composite
def mutated(draw: st.DrawFn, target: Target) -> bytes:
    """Return a seed of the target with some of its bytes removed, doubled or replaced."""
    data = draw(st.sampled_from(target.seeds))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        piece = draw(st.sampled_from(NASTY) | st.binary(max_size=8) | st.just(data[start:end] * 2))
        data = data[:start] + piece + data[end:]
    return data


def any_bytes(target: Target) -> st.SearchStrategy[bytes]:
    """Return bytes for a target: mostly mutated seeds, sometimes any bytes."""
    return mutated(target) | st.binary(max_size=300)


def mutate_once(target: Target, chance: random.Random) -> bytes:
    """Return a mutated seed of the target, for tests that need many at once."""
    data = chance.choice(target.seeds)
    start = chance.randrange(len(data) + 1)
    return data[:start] + chance.choice(NASTY) + data[start + chance.choice((0, 0, 1, 10)) :]

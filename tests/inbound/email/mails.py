"""Builds the bodies that Inbound Parse posts, with any fields and file parts, and reads them."""

import json

from router.inbound.email.inbound_parse import MailReader

BOUNDARY = "xYzZY"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
ENVELOPE = {"to": ["support@inbound.example.com"], "from": "ana@example.com"}
HEADERS = (
    "Received: by mx.example.com with SMTP\r\n"
    "Message-ID: <m1@example.com>\r\nIn-Reply-To: <m0@example.com>\r\n"
    "References: <a@example.com>\r\n <m0@example.com>\r\n"
    "From: =?iso-8859-1?Q?Ana_L=F3pez?= <ana@example.com>\r\nTo: Support <support@inbound.example.com>\r\n"
    "Cc: boss@example.com\r\nDate: Wed, 07 Jan 2026 12:00:00 +0000\r\nSubject: Order\r\nAuto-Submitted: no\r\n"
    "List-Id: <list.example.com>\r\n"
)


def part(name, content, *, filename=None, content_type=None):
    """Return the bytes of one part."""
    content = content if isinstance(content, bytes) else content.encode()
    shown = f'; filename="{filename}"' if filename is not None else ""
    kind = f"\r\nContent-Type: {content_type}" if content_type else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{shown}{kind}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def join(*parts):
    """Return a whole body."""
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def make_fields(**changes):
    """Return the fields of a parsed mail; a change to None removes one."""
    fields = {
        "headers": HEADERS,
        "dkim": "{@example.com : pass}",
        "to": "Support <support@inbound.example.com>",
        "cc": "boss@example.com",
        "from": "Ana López <ana@example.com>",
        "sender_ip": "192.0.2.1",
        "envelope": json.dumps(ENVELOPE),
        "attachments": "0",
        "subject": "Order",
        "text": "Where is my order?\r\nOlá 👋",
        "html": "<p>Where is my order?</p>",
        "charsets": '{"to":"UTF-8","from":"UTF-8","subject":"UTF-8","text":"utf-8","html":"utf-8"}',
        "spam_score": "0.5",
        "spam_report": "Spam detection software, running on the system",
        "SPF": "pass",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def make_body(*more, **changes):
    """Return the body of a parsed mail, with further parts after its fields."""
    return join(*(part(name, value) for name, value in make_fields(**changes).items()), *more)


def read_all(*chunks):
    """Return the mails of a webhook."""
    reader = MailReader(CONTENT_TYPE)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.finish()


def read(*chunks):
    """Return the only mail of a webhook."""
    (mail,) = read_all(*chunks)
    return mail

"""`simulate email`: the mail that the command line describes, and the sender that signs it."""

from __future__ import annotations

import mimetypes
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Final

from router.core.errors import SettingsError
from router.simulator.mail import RAW_FIELDS, Attachment, MailSender, mail
from router.simulator.mail_keys import read_key
from router.simulator.options import CUSTOMER, OURS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from router.simulator.messages import SimulatedWebhook

#: Mailboxes in place of the default phone numbers.
_MAILBOXES: Final = {CUSTOMER: "ana@example.com", OURS: "support@inbound.example.com"}
#: The variable with the file of the private key.
KEY_FILE: Final = "ROUTER_EMAIL_PRIVATE_KEY_FILE"


def mailboxes_of(arguments: argparse.Namespace) -> tuple[str, str]:
    """Return the mailboxes of the sender and the recipient."""
    sender, recipient = arguments.sender, arguments.recipient
    return _MAILBOXES.get(sender, sender), _MAILBOXES.get(recipient, recipient)


def make_mail(arguments: argparse.Namespace) -> SimulatedWebhook:
    """Build the mail that the command line describes; raises SettingsError if an attachment cannot be read."""
    sender, recipient = mailboxes_of(arguments)
    return mail(
        sender=sender,
        recipients=[recipient],
        subject=arguments.subject,
        body=arguments.body,
        message_id=f"<{secrets.token_hex(16)}@simulated.example.com>" if arguments.new else arguments.sid,
        attachments=[_attach(Path(name)) for name in arguments.attachment],
        raw_field=RAW_FIELDS[0] if arguments.raw else None,
    )


def _attach(path: Path) -> Attachment:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError([f"--attachment: {path}: {error.strerror}"]) from error
    return Attachment(path.name, content, mimetypes.guess_type(path.name)[0] or "application/octet-stream")


def make_sender(environment: Mapping[str, str], auth_token: str) -> MailSender:
    """Return a sender with the private key that the environment names; raises SettingsError without one."""
    if not environment.get(KEY_FILE):
        hint = "start `python -m router dev` first, or set it to the PEM file of the private key that signs mails"
        raise SettingsError([f"{KEY_FILE} is not set: {hint}"])
    return MailSender(
        receiver_url=environment["ROUTER_URL"],
        public_base_url=environment["PUBLIC_BASE_URL"],
        auth_token=auth_token,
        private_key=load_key(environment[KEY_FILE]),
    )


def load_key(path: str) -> EllipticCurvePrivateKey:
    """Return the private key of the file that KEY_FILE names; raises SettingsError if none can be read."""
    try:
        return read_key(Path(path))
    except (OSError, ValueError) as error:
        raise SettingsError([f"{KEY_FILE}: no private key can be read from {path}"]) from error

"""The fingerprint of a mail: it tells mails with one Message-ID apart, and is equal whenever the provider repeats one.

Broken senders write `<>` or `<1@localhost>` into each mail, so the Message-ID alone names none. Counted are the sender
of the envelope, From, To, Date, Subject, the texts, and the names, sizes and contents of the attachments in any order.
Not counted is what may be another at a repeat: the provider's verdicts, the boundary and the order of the form, headers
that a relay adds, transfer encodings, line ends, and mostly even the mode, parsed or raw.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from router.core.addresses import Address, Channel
from router.inbound.email.mail import digest
from router.inbound.email.text import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from router.inbound.email.mail import MailHeaders, MailPart


class Counted(Protocol):
    """Content that was read and not kept: its size in bytes, and its CRC-32."""

    @property
    def size(self) -> int: ...  # noqa: D102 - see the class
    @property
    def checksum(self) -> int: ...  # noqa: D102


def make_fingerprint(
    sender: str,
    headers: MailHeaders,
    texts: Iterable[tuple[bytes, str | None, Counted | None]],
    parts: Sequence[MailPart],
    contents: Iterable[Counted],
) -> str:
    """Return the fingerprint of a mail, 32 hexadecimal digits.

    `texts` are the beginning of each text, its charset, and all of it if it is longer. `contents` are those of the
    attachments; `parts` may lack the last of them.
    """
    shown = (headers.sender, headers.to, headers.date, headers.subject)
    stable = [Address(Channel.EMAIL, sender).canonical, *(value or "" for value in shown)]
    for data, charset, whole in texts:
        text = decode(data, charset, is_cut=whole is not None).text
        stable += [" ".join(text.split()), f"{whole.size}:{whole.checksum}" if whole is not None else ""]
    stable += sorted(part.name or "" for part in parts)
    return digest([*stable, str(sorted((each.size, each.checksum) for each in contents))])

"""What may be shown of text that others wrote: in logs, records, errors and messages.

Two things never leave: a line end or a control character, with which a name would forge a line of a log or steer a
terminal, and whatever lets others in: credentials in an address, its query, the signature of a presigned one.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

MAX_SHOWN = 10_000
_USERINFO = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s/?#@'\"]{0,2000}@")
_QUERY = re.compile(r"(\b(?:https?|s3)://[^\s?'\"]{0,4000}\?)[^\s'\"]+")
_SIGNED = re.compile(
    r"((?:X-Amz-(?:Signature|Credential|Security-Token)|Signature|AWSAccessKeyId)=)[^&\s'\"]+", re.IGNORECASE
)
_SLACK = re.compile(r"(hooks\.slack\.com/(?:services|workflows|triggers)/)[^\s'\"]+")
"""The path of such an address is its password."""


def redacted(text: str) -> str:
    """``text`` without credentials, queries and signatures of the addresses in it."""
    for pattern in (_USERINFO, _QUERY, _SIGNED, _SLACK):
        replacement = r"\1…@" if pattern is _USERINFO else r"\1…"
        text = pattern.sub(replacement, text)
    return text


def origin_of(url: str) -> str:
    """Scheme, host and port of an address: what may be shown, as the rest may hold tokens and passwords.

    What is no address is cut likewise, and at 200 characters; of what has no scheme all may be a token.
    """
    scheme, separator, rest = url.partition("://")
    host = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    return f"{scheme}://{host}"[:200] if separator else "..."


def printable(text: str, *, keep: str = "") -> str:
    """``text`` with everything escaped that does not print: line ends, control characters, halves of surrogate pairs.

    Args:
        text: Of whoever.
        keep: Characters that may stay, a line end for instance.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else ascii(char)[1:-1] for char in text)


def one_line(text: str) -> str:
    """``text`` as one line that may be shown: no secrets, nothing that does not print, no more than is bearable."""
    shown = printable(redacted(text[: 2 * MAX_SHOWN]))
    return shown if len(shown) <= MAX_SHOWN else shown[: MAX_SHOWN - 1] + "…"


def command_line(argv: Iterable[str]) -> str:
    """A command as a person can paste it, in one line and without secrets."""
    return redacted(" ".join(_quoted(part) for part in argv))


def _quoted(part: str) -> str:
    if part.isprintable():
        return shlex.quote(part)
    # How shells write what does not print. Bytes that are no UTF-8 stand in argv as halves of surrogate pairs.
    escapes = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in "\\'" else f"\\x{byte:02x}" for byte in _bytes(part)
    )
    return f"$'{escapes}'"


def _bytes(part: str) -> bytes:
    try:
        return part.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return part.encode("utf-8", "surrogatepass")

"""What ffmpeg's HTTP layers say of the way that data came, apart from what it says of the data."""

from __future__ import annotations

import re

_TRANSPORT = re.compile(r"\[(https?|tls|tcp) @ (\w+)\] ")
_BREAK = re.compile(
    r"HTTP error (?!416)|reading HTTP response|ends prematurely|returned|[Ff]ailed|timed out|certificate"
)
"""Of the transport's words those that tell of data that did not come. 416 is only an end that was asked beyond."""


def without_transport(stderr: str) -> tuple[str, str]:
    """A tool's words without those of its transport, and the last break that was not mended; empty where there is none.

    ffmpeg takes data that no longer comes for the end of the file and ends well. And a mended break must not look to
    those who judge a mezzanine by the tool's words as if the mezzanine were cut short.
    """
    open_breaks: dict[str, str] = {}
    rest = []
    for line in stderr.splitlines(keepends=True):
        said = _TRANSPORT.match(line)
        if said is None:
            rest.append(line)
            continue
        # Layers below HTTP do not know which connection they serve.
        connection = said[2] if said[1].startswith("http") else "below"
        if "Will reconnect" in line:
            open_breaks.pop(connection, None)
            open_breaks.pop("below", None)
        elif _BREAK.search(line):
            open_breaks[connection] = line[said.end() :].strip()
    return "".join(rest), next(reversed(open_breaks.values()), "")

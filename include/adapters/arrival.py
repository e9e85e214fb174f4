"""Whether a mezzanine is there, as far as that can be seen from outside and without fetching it."""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from include.adapters.fetching import local_file, pieces, shown_address, sized
from include.base.errors import ConfigurationError, MezzanineRejected, MezzanineUnreachable, StorageError
from include.base.settings import Settings
from include.domain.media.rejection import Reason

log = logging.getLogger(__name__)

STILL_GROWING_S = 10.0
"""A file that was written to more recently may still be on its way."""
LOOK_LIMIT_S = 10.0
"""For one look, the whole exchange."""


class Found(StrEnum):
    """What a look at a mezzanine's address found."""

    HERE = "here"
    MISSING = "missing"
    GROWING = "growing"
    """Written to a moment ago."""
    REFUSED = "refused"
    """By the policy of addresses, or for its size: no wait changes that."""
    MISCONFIGURED = "misconfigured"
    """A setting of this deployment is wrong."""
    UNKNOWN = "unknown"
    """No answer in time, or one that does not tell: to come again, or that this process may not look."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at a mezzanine's address."""

    found: Found
    said: str = ""
    """What is wrong, for people."""

    @property
    def arrived(self) -> bool:
        """Whether nothing is to be waited for: what is wrong with a mezzanine besides is for its inspection to say."""
        return self.found in {Found.HERE, Found.REFUSED, Found.MISCONFIGURED}


def look_at(uri: str, settings: Settings, *, now: datetime) -> Look:
    """Look whether a mezzanine is there, and complete as far as that can be seen: one byte of it is asked for.

    Args:
        uri: Its address.
        settings: For roots, buckets and allowed origins.
        now: The time; a file that was written to just before is not complete.
    """
    try:
        if uri.startswith("file://"):
            return _look_at_file(uri, settings, now)
        chunks = pieces(uri, settings, settings.max_file_size, LOOK_LIMIT_S)
        try:
            next(chunks, b"")
        finally:
            chunks.close()
    except MezzanineRejected as error:
        found = Found.REFUSED
        if error.reason == Reason.MISSING:
            found = Found.UNKNOWN if _is_kept_from_us(error) else Found.MISSING
        return Look(found=found, said=error.message)
    except ConfigurationError as error:
        return Look(found=Found.MISCONFIGURED, said=error.message)
    except (MezzanineUnreachable, StorageError) as error:
        log.warning("%s: %s", shown_address(uri), error.message)
        return Look(found=Found.UNKNOWN, said=error.message)
    return Look(found=Found.HERE)


def _look_at_file(uri: str, settings: Settings, now: datetime) -> Look:
    path = local_file(uri, settings)
    try:
        seen = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        # A machine without the folder itself cannot say what lies in it.
        roots = [root for root in settings.mezzanine_roots if path.is_relative_to(os.path.realpath(root))]
        found = Found.MISSING if any(root.is_dir() for root in roots) else Found.UNKNOWN
        return Look(found=found, said=f"{uri} is missing: {error.strerror}")
    except OSError as error:
        return Look(found=Found.UNKNOWN, said=f"{uri}: {error.strerror}")
    if not stat.S_ISREG(seen.st_mode):
        return Look(found=Found.REFUSED, said=f"Invalid file type: {uri} is not a plain file")
    sized(seen.st_size, settings.max_file_size)
    # A time in the future comes from a file server whose clock is ahead: it tells nothing.
    growing = 0 <= now.timestamp() - seen.st_mtime < STILL_GROWING_S
    return Look(found=Found.GROWING if growing else Found.HERE)


def _is_kept_from_us(error: MezzanineRejected) -> bool:
    """Whether S3 keeps from this process whether there is an object; a worker's credentials may be others."""
    answer = getattr(error.__cause__, "response", None)
    return isinstance(answer, dict) and answer.get("ResponseMetadata", {}).get("HTTPStatusCode") == 403

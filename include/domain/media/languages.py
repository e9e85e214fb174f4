"""Language tags of containers (ISO 639-2, or anything) as the BCP 47 tags that manifests use."""

from __future__ import annotations

import re
from collections.abc import Mapping

from babel.core import get_global

UNDETERMINED = "und"
_TAG = re.compile(r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")
_SHORT: Mapping[str, str] = {
    long: short for long, short in get_global("language_aliases").items() if len(long) == 3 and short.isalpha()
}
"""CLDR's shorter code for the codes of ISO 639-2 (bibliographic and terminological) and of ISO 639-3 that have one."""


def language_tag(value: str | None) -> str:
    """``eng`` becomes ``en``; a known shape passes; anything else is ``und``."""
    text = (value or "").strip().replace("_", "-")
    if not _TAG.match(text):
        return UNDETERMINED
    primary, _, rest = text.partition("-")
    primary = _SHORT.get(primary.lower(), primary.lower())
    return f"{primary}-{rest}" if rest else primary


def matches(language: str, wanted: tuple[str, ...]) -> bool:
    """Whether ``language`` is one of ``wanted``: ``en`` or ``eng`` covers ``en-GB``, not the other way round."""
    tag = language.lower()
    return any(f"{tag}-".startswith(f"{language_tag(each).lower()}-") for each in wanted)

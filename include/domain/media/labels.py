"""What tracks are called: in the menus of players, where languages are as their speakers write them, and as files."""

from __future__ import annotations

import re

from babel import Locale, UnknownLocaleError

from include.domain.media.choosing import role_of
from include.domain.media.languages import UNDETERMINED
from include.domain.media.media import AudioRole

MAX_LABEL = 80
_OURS = {"id": "Bahasa Indonesia", "ms": "Bahasa Melayu"}
"""Where CLDR's name of the language is that of a country or a people."""


def label(language: str, title: str | None = None) -> str:
    """What a menu shows for a track: its own title, else the language's name, else its tag."""
    own = "".join(char for char in title or "" if char.isprintable() and char not in '"<>').strip()
    if own:
        return own[:MAX_LABEL]
    if language == UNDETERMINED:
        return "Original"
    primary, _, rest = language.partition("-")
    name = _own_name(primary.lower()) or primary
    return f"{name} ({rest})" if rest else name


_ROLES = {
    AudioRole.DESCRIPTION: "Audio description",
    AudioRole.COMMENTARY: "Commentary",
    AudioRole.CLEAR_SPEECH: "Clear speech",
    AudioRole.EFFECTS: "Music and effects",
}


def sound_label(language: str, title: str | None, role: AudioRole) -> str:
    """What a menu shows for a sound track: as :func:`label`, and what it is for where that is not the main sound."""
    shown = label(language, title)
    purpose = _ROLES.get(role)
    # A title that says it in its own words does not need ours.
    if purpose is None or (title and role_of((), title) is role):
        return shown
    return f"{shown} ({purpose})"


def _own_name(code: str) -> str | None:
    """What its speakers call a language, as a heading; None for a code that CLDR does not know."""
    if code in _OURS:
        return _OURS[code]
    try:
        name: str | None = Locale(code).languages.get(code)
    except UnknownLocaleError:
        return None
    return name[0].upper() + name[1:] if name else None


def file_name(language: str) -> str:
    """A language as part of the name of a file."""
    return re.sub(r"[^A-Za-z0-9-]", "", language) or UNDETERMINED


def unique(label: str, taken: set[str], *, joint: str = " ") -> str:
    """``label``, behind ``joint`` numbered where it is taken; the result is added to ``taken``."""
    number, chosen = 2, label
    while chosen in taken:
        chosen, number = f"{label}{joint}{number}", number + 1
    taken.add(chosen)
    return chosen

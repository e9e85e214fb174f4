"""What the menus of players show: languages as their speakers write them."""

from __future__ import annotations

from include.domain.media.languages import UNDETERMINED

MAX_LABEL = 80
_NAMES = {
    "ar": "العربية",
    "bg": "Български",
    "bn": "বাংলা",
    "ca": "Català",
    "cs": "Čeština",
    "da": "Dansk",
    "de": "Deutsch",
    "el": "Ελληνικά",
    "en": "English",
    "es": "Español",
    "et": "Eesti",
    "fa": "فارسی",
    "fi": "Suomi",
    "fr": "Français",
    "he": "עברית",
    "hi": "हिन्दी",
    "hr": "Hrvatski",
    "hu": "Magyar",
    "id": "Bahasa Indonesia",
    "it": "Italiano",
    "ja": "日本語",
    "ko": "한국어",
    "lt": "Lietuvių",
    "lv": "Latviešu",
    "ms": "Bahasa Melayu",
    "nb": "Norsk bokmål",
    "nl": "Nederlands",
    "no": "Norsk",
    "pl": "Polski",
    "pt": "Português",
    "ro": "Română",
    "ru": "Русский",
    "sk": "Slovenčina",
    "sl": "Slovenščina",
    "sr": "Српски",
    "sv": "Svenska",
    "ta": "தமிழ்",
    "th": "ไทย",
    "tr": "Türkçe",
    "uk": "Українська",
    "ur": "اردو",
    "vi": "Tiếng Việt",
    "zh": "中文",
}


def label(language: str, title: str | None = None) -> str:
    """What a menu shows for a track: its own title, else the language's name, else its tag."""
    own = "".join(char for char in title or "" if char.isprintable() and char not in '"<>').strip()
    if own:
        return own[:MAX_LABEL]
    if language == UNDETERMINED:
        return "Original"
    primary, _, rest = language.partition("-")
    name = _NAMES.get(primary.lower(), primary)
    return f"{name} ({rest})" if rest else name


def unique(label: str, taken: set[str]) -> str:
    """``label``, numbered where it is taken; the result is added to ``taken``."""
    number, chosen = 2, label
    while chosen in taken:
        chosen, number = f"{label} {number}", number + 1
    taken.add(chosen)
    return chosen


def matches(language: str, wanted: tuple[str, ...]) -> bool:
    """Whether ``language`` is one of ``wanted``: ``en`` covers ``en-GB``, not the other way round."""
    tag = language.lower()
    return any(tag == each.lower() or tag.startswith(each.lower() + "-") for each in wanted)

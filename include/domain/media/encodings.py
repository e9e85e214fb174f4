"""The text of a subtitle file, in whatever encoding it was written.

Unicode says what it is. What is older does not, and a wrong guess is text that nobody can read: so the candidates are
those of the file's language, each reading is judged by how much it looks like that language, and a file that looks like
none of them is refused.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from include.domain.media.alphabets import FAMILIAR, Alphabet, alphabets

SAMPLE_CHARACTERS = 20_000
"""How much of a reading is judged."""
ACCEPTED = 0.8
"""Mean cost of a character beyond ASCII up to which a reading passes for text of its language, where it has many. Over
the sentences of ``tests/domain/test_encodings.py`` right readings cost 0.3 to 0.65, wrong ones mostly above 1."""
FEW = 2.0
"""What a reading may cost beyond that in all: a few words can have rare letters only."""
DECISIVE = 0.1
"""By how much the best reading must be cheaper than another one, for each character in which they differ."""
RARER = 0.3
"""What each place further down the list of a language's encodings costs, once for the whole text."""
UTF16_SHARE = 0.04
"""Share of units that are ASCII with a zero byte, from which bytes without a mark are taken for UTF-16: numbers, times
and line ends are, in every language."""
BROKEN_SHARE = 0.2
"""Bytes that are no UTF-8, as a share of those that are and lie beyond ASCII, up to which it still is broken UTF-8."""
_PUNCTUATION = frozenset(
    "«»„“”‘’‚–—…·•°€£¥§©®™¿¡♪♫№\u00a0‹›´\u00ad―′″×½¼¾²³µ\u200e\u200f、。「」『』・ー～！？（）：；，"
)
_NAMES = {
    "cp932": "Shift_JIS",
    "euc_jp": "EUC-JP",
    "koi8_r": "KOI8-R",
    "koi8_u": "KOI8-U",
    "cp949": "EUC-KR",
    "gb18030": "GB 18030",
    "big5hkscs": "Big5",
    "cp950": "Big5",
    "iso2022_jp_2": "ISO-2022-JP",
    "iso2022_kr": "ISO-2022-KR",
    "kz1048": "KZ-1048",
}


class UnknownEncoding(ValueError):
    """No candidate reads as text; the message is a sentence for people."""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A file's text."""

    text: str
    encoding: str
    """For people: ``UTF-8``, ``windows-1251``."""
    remark: str = ""
    """What is to be said about it; empty for sound Unicode."""


def decode(data: bytes, language: str) -> Decoded:
    """The text of ``data`` with plain line ends; raises :class:`UnknownEncoding`.

    Args:
        data: The file.
        language: BCP 47, as the request has it; it decides which encodings are tried.
    """
    found = _unicode(data) or _legacy(data, language)
    if "\0" in found.text:
        raise UnknownEncoding("is not text")
    text = found.text.replace("\r\n", "\n").replace("\r", "\n")
    return Decoded(text=text.removeprefix("\ufeff"), encoding=found.encoding, remark=found.remark)


def _unicode(data: bytes) -> Decoded | None:
    """The text of UTF-8 and UTF-16, sound or with a few broken bytes; None where it is neither."""
    for mark, codec, name in (
        (b"\xff\xfe\0\0", "utf-32", "UTF-32"),
        (b"\0\0\xfe\xff", "utf-32", "UTF-32"),
        (b"\xff\xfe", "utf-16", "UTF-16"),
        (b"\xfe\xff", "utf-16", "UTF-16"),
    ):
        if data.startswith(mark):
            return _mended(data, codec, name)
    if b"\x1b" in data:
        # Japanese and Korean of mail: ASCII bytes, switched by escapes.
        return None
    unmarked = _utf16_without_mark(data)
    if unmarked:
        name = f"UTF-16 ({'little' if unmarked.endswith('le') else 'big'}-endian)"
        found = _mended(data, unmarked, name)
        return Decoded(text=found.text, encoding=name, remark=found.remark or f"has no byte order mark; read as {name}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _broken_utf8(data)
    twice = _encoded_twice(text)
    if twice is not None:
        return Decoded(text=twice, encoding="UTF-8", remark="was encoded as UTF-8 twice, which is undone")
    return Decoded(text=text, encoding="UTF-8")


def _mended(data: bytes, codec: str, name: str) -> Decoded:
    try:
        return Decoded(text=data.decode(codec), encoding=name)
    except UnicodeDecodeError:
        text = data.decode(codec, "replace")
        return Decoded(text=text, encoding=name, remark=_broken(text, name))


def _broken(text: str, name: str) -> str:
    return f"is {name} with {text.count(chr(0xFFFD))} broken characters, shown as \ufffd"


def _utf16_without_mark(data: bytes) -> str | None:
    even, odd = data[0::2].count(0), data[1::2].count(0)
    units = len(data) // 2
    if units and odd >= UTF16_SHARE * units and even * 20 < odd:
        return "utf-16-le"
    if units and even >= UTF16_SHARE * units and odd * 20 < even:
        return "utf-16-be"
    return None


def _broken_utf8(data: bytes) -> Decoded | None:
    text = data.decode("utf-8-sig", "replace")
    broken = text.count("\ufffd")
    sound = sum(1 for char in text if ord(char) > 0x7F) - broken
    if sound < 2 or broken > BROKEN_SHARE * sound:
        return None
    return Decoded(text=text, encoding="UTF-8", remark=_broken(text, "UTF-8"))


def _encoded_twice(text: str) -> str | None:
    """The text whose UTF-8 was taken for Windows-1252 and encoded once more; None for any other."""
    if text.isascii():
        return None
    raw = bytearray()
    for char in text:
        try:
            raw += char.encode("cp1252")
        except UnicodeEncodeError:
            if ord(char) > 0xFF:
                return None
            raw.append(ord(char))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    encoding: str
    text: str
    cost: float
    """Mean, per character beyond ASCII."""

    @property
    def beyond(self) -> int:
        """Judged characters beyond ASCII."""
        return sum(1 for char in self.text[:SAMPLE_CHARACTERS] if ord(char) > 0x7F)


def _legacy(data: bytes, language: str) -> Decoded:
    attempts: list[_Attempt] = []
    for alphabet in alphabets(language):
        for rank, encoding in enumerate(alphabet.encodings):
            try:
                text = data.decode(encoding)
            except UnicodeDecodeError:
                continue
            attempts.append(_Attempt(encoding=encoding, text=text, cost=_cost(text, alphabet, RARER * rank)))
    attempts.sort(key=lambda attempt: attempt.cost)
    tried = ", ".join(dict.fromkeys(name(each) for entry in alphabets(language) for each in entry.encodings))
    if not attempts or attempts[0].cost > ACCEPTED + FEW / max(1, attempts[0].beyond):
        raise UnknownEncoding(
            f"is not UTF-8, and reads as text of its language in none of {tried}; send it as UTF-8"
            if language != "und"
            else "is not UTF-8, and reads as text in no encoding that is known; send it as UTF-8"
        )
    best = attempts[0]
    rivals = [each for each in attempts[1:] if each.text != best.text and not _decisive(best, each)]
    if rivals:
        best = _by_detector(data, [best, *rivals])
    taken = name(best.encoding)
    # Vietnamese was kept as letters and accents apart, which not every player joins.
    text = unicodedata.normalize("NFC", best.text)
    return Decoded(text=text, encoding=taken, remark=f"is not UTF-8; read as {taken}")


def name(encoding: str) -> str:
    """An encoding's name as people and browsers know it."""
    if encoding in _NAMES:
        return _NAMES[encoding]
    if encoding.startswith("cp125") or encoding == "cp874":
        return f"windows-{encoding[2:]}"
    return encoding.replace("iso8859_", "ISO-8859-").replace("mac_", "Mac ")


def _decisive(best: _Attempt, other: _Attempt) -> bool:
    if len(best.text) != len(other.text):
        return other.cost - best.cost >= DECISIVE
    differing = sum(1 for one, two in zip(best.text[:SAMPLE_CHARACTERS], other.text, strict=False) if one != two)
    return (other.cost - best.cost) * best.beyond >= DECISIVE * max(1, differing)


def _by_detector(data: bytes, attempts: list[_Attempt]) -> _Attempt:
    """The reading that a detector takes as well, where letters alone do not decide; raises where it decides nothing."""
    from charset_normalizer import from_bytes

    found = from_bytes(data, cp_isolation=[attempt.encoding for attempt in attempts]).best()
    for attempt in attempts:
        if found is not None and found.encoding == attempt.encoding:
            return attempt
    names = " or ".join(dict.fromkeys(name(attempt.encoding) for attempt in attempts[:3]))
    raise UnknownEncoding(f"is not UTF-8, and may be {names}: too little text to tell; send it as UTF-8")


def _cost(text: str, alphabet: Alphabet, rarity: float) -> float:
    """How unlike its language a reading is: the mean over the characters beyond ASCII."""
    sample = text[:SAMPLE_CHARACTERS]
    ranks = {letter: rank for rank, letter in enumerate(alphabet.letters)}
    total, beyond, letters = rarity, 0, 0
    for before, char, after in zip(f" {sample}", sample, f"{sample[1:]} ", strict=False):
        letters += char.isalpha()
        if ord(char) <= 0x7F:
            continue
        beyond += 1
        total += _character_cost(char, ranks, alphabet)
        if not alphabet.latin and alphabet.letters and char.isalpha() and (_ascii(before) or _ascii(after)):
            # Two scripts in one word.
            total += 2.0
        if unicodedata.combining(char) and not before.isalpha():
            total += 2.0
        if char.isupper():
            # Capitals begin words, or make them up; within one after a small letter they are another encoding's.
            total += 2.0 if before.islower() else 0.2
        elif char.islower() and after.isupper():
            total += 1.5
        elif char in "’”‚" and not before.isalpha() and after.isalpha():
            # A closing quote that opens a word.
            total += 1.0
        elif not char.isalnum() and before.isalpha() and after.isalpha() and char not in "’·\u00ad\u200c\u200d":
            total += 0.0 if unicodedata.combining(char) else 1.5
    if not beyond:
        return 0.0 if "\x1b" not in sample else 9.0
    # In the Latin script most letters are those of ASCII.
    foreign = sum(1 for char in sample if ord(char) > 0x7F and char.isalpha())
    crowded = alphabet.latin and not alphabet.ranges and foreign > 4 and foreign > 0.75 * letters
    return total / beyond + (2.0 if crowded else 0.0)


def _ascii(char: str) -> bool:
    return char.isascii() and char.isalpha()


def _character_cost(char: str, ranks: dict[str, int], alphabet: Alphabet) -> float:
    lower = char.lower()
    rank = ranks.get(lower, ranks.get(char))
    if rank is not None:
        return 0.3 if alphabet.latin else 0.2 + 0.8 * rank / len(ranks)
    if any(first <= ord(char) <= last for first, last in alphabet.ranges):
        return 0.4
    if not alphabet.letters and not alphabet.latin:
        return _ideograph_cost(char, alphabet.encodings)
    if char in _PUNCTUATION:
        # The low single quote is rare in the scripts that are not Latin, and one of their capitals elsewhere.
        return 2.0 if char == "‚" and not alphabet.latin else 0.6
    category = unicodedata.category(char)
    if category in {"Cc", "Cn", "Co", "Cs"}:
        return 6.0
    if alphabet.latin and lower in FAMILIAR:
        return 1.5
    return 3.0 if category.startswith("L") else 2.5


@functools.lru_cache(maxsize=50_000)
def _ideograph_cost(char: str, encodings: Iterable[str]) -> float:
    """For Chinese, Japanese and Korean: what stands in the common half of the national tables is cheap."""
    code = ord(char)
    if 0x3041 <= code <= 0x30FF or 0xAC00 <= code <= 0xD7A3:
        return 0.3 if _lead(char, "euc_kr", 0xB0, 0xC8) or code <= 0x30FF else 1.5
    if 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF:
        if "gb18030" in encodings:
            common = _lead(char, "gb2312", 0xB0, 0xD7) or _lead(char, "big5", 0xA4, 0xC6)
        else:
            common = _lead(char, "euc_jp", 0xB0, 0xCF)
        return 0.4 if common else 1.6
    if 0x3000 <= code <= 0x303F or 0xFF01 <= code <= 0xFF5E or char in _PUNCTUATION:
        return 0.5
    return 6.0 if unicodedata.category(char) in {"Cc", "Cn", "Co", "Cs"} else 2.5


def _lead(char: str, encoding: str, first: int, last: int) -> bool:
    """Whether the table of ``encoding`` has a character in these rows."""
    try:
        raw = char.encode(encoding)
    except UnicodeEncodeError:
        return False
    return len(raw) == 2 and first <= raw[0] <= last

"""What texts of a language are made of, and the encodings that they were kept in before Unicode."""

from __future__ import annotations

from dataclasses import dataclass

from include.domain.media.languages import UNDETERMINED, language_tag

_CYRILLIC = ("cp1251", "koi8_r", "iso8859_5", "cp866", "mac_cyrillic")
_CENTRAL = ("cp1250", "iso8859_2", "cp852")
_WESTERN = ("cp1252", "iso8859_15", "mac_roman", "cp850")
_BALTIC = ("cp1257", "iso8859_13", "iso8859_4", "cp775")
_WESTERN_LETTERS = "éèàêçùâîôûëïœüÿæäößñáíóúãõìòåø"


@dataclass(frozen=True, kw_only=True)
class Alphabet:
    """How a language is written."""

    encodings: tuple[str, ...]
    """Python's names, the usual one first."""
    letters: str
    """Beyond ASCII, in lower case. Where the script is not Latin, the most frequent letter comes first."""
    latin: bool = True
    ranges: tuple[tuple[int, int], ...] = ()
    """Code points that belong to it as well."""


_RU = "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё"
_SR = "аоиенрстјувкдпмлзбгшжцљњчћхђџф"
ALPHABETS: dict[str, tuple[Alphabet, ...]] = {
    "ru": (Alphabet(encodings=_CYRILLIC, letters=_RU, latin=False),),
    "uk": (
        Alphabet(
            encodings=("cp1251", "koi8_u", "iso8859_5", "cp1125", "mac_cyrillic"),
            letters="оаинвіетрслкудмпяьзгбйчхцїюжєшщґф",
            latin=False,
        ),
    ),
    "be": (Alphabet(encodings=_CYRILLIC, letters="анеіоырлсктўядвумпьзгцйбчшэхжюёф", latin=False),),
    "bg": (Alphabet(encodings=_CYRILLIC, letters="аеоитнрсвлкдпмзъгубяйчщцшжхюьфѝ", latin=False),),
    "sr": (
        Alphabet(encodings=_CENTRAL, letters="čćđšž"),
        Alphabet(encodings=("cp1251", "iso8859_5", "mac_cyrillic", "cp855"), letters=_SR, latin=False),
    ),
    "mk": (Alphabet(encodings=("cp1251", "iso8859_5", "cp855"), letters=f"{_SR}ѓќѕ", latin=False),),
    "kk": (Alphabet(encodings=("kz1048", "ptcp154", "cp1251"), letters=f"{_RU}әғқңөұүһі", latin=False),),
    "pl": (Alphabet(encodings=_CENTRAL, letters="łóżąęśćźń"),),
    "cs": (Alphabet(encodings=_CENTRAL, letters="áčďéěíňóřšťúůýž"),),
    "sk": (Alphabet(encodings=_CENTRAL, letters="áäčďéíĺľňóôŕšťúýž"),),
    "hu": (Alphabet(encodings=_CENTRAL, letters="áéíóöőúüű"),),
    "ro": (Alphabet(encodings=("cp1250", "iso8859_2", "cp852"), letters="ăâîșțşţ"),),
    "hr": (Alphabet(encodings=_CENTRAL, letters="čćđšž"),),
    "bs": (Alphabet(encodings=_CENTRAL, letters="čćđšž"),),
    "sl": (Alphabet(encodings=_CENTRAL, letters="čšžćđ"),),
    "sq": (Alphabet(encodings=("cp1252", "cp1250", "iso8859_2"), letters="ëç"),),
    "el": (
        Alphabet(
            encodings=("cp1253", "iso8859_7", "cp737"),
            letters="αοιετσνρυπκμληςωάίέόήδχθγύώφβζξψϊϋΐΰ",
            latin=False,
        ),
    ),
    "tr": (Alphabet(encodings=("cp1254", "iso8859_9", "cp857"), letters="ıişüçöğâîûİ"),),
    "az": (Alphabet(encodings=("cp1254", "iso8859_9", "cp857"), letters="ıişüçöğəİ"),),
    "he": (
        Alphabet(
            encodings=("cp1255", "iso8859_8", "cp862"),
            letters="יוהלאתרבשמנחעדקםפכטגזצסךןףץ",
            latin=False,
            ranges=((0x591, 0x5F4),),
        ),
    ),
    "ar": (
        Alphabet(
            encodings=("cp1256", "iso8859_6", "cp720"),
            letters="اليمنوترهبسدعفكحقجأصشةخطذءضىغزثئإآظؤ",
            latin=False,
            ranges=((0x60C, 0x60C), (0x61B, 0x61F), (0x640, 0x669)),
        ),
    ),
    "fa": (
        Alphabet(
            encodings=("cp1256",),
            letters="اینردهمتوسشبلگکزفخقعجپحصيكچطآضظغذژثئءأؤ",
            latin=False,
            ranges=((0x60C, 0x60C), (0x61B, 0x61F), (0x640, 0x652), (0x200C, 0x200D)),
        ),
    ),
    "lt": (Alphabet(encodings=_BALTIC, letters="ėšųžąįūčę"),),
    "lv": (Alphabet(encodings=_BALTIC, letters="āčēģīķļņšūž"),),
    "et": (Alphabet(encodings=("cp1257", "cp1252", "iso8859_15", "iso8859_13"), letters="äõüöšž"),),
    "vi": (
        Alphabet(
            encodings=("cp1258",),
            letters="đêôơưăâáàãéèíìóòõúùý",
            ranges=((0x300, 0x301), (0x303, 0x303), (0x309, 0x309), (0x323, 0x323)),
        ),
    ),
    "th": (Alphabet(encodings=("cp874", "iso8859_11"), letters="", latin=False, ranges=((0xE01, 0xE5B),)),),
    "is": (Alphabet(encodings=_WESTERN, letters="áéíóúýþðæö"),),
    "fo": (Alphabet(encodings=_WESTERN, letters="áíóúýðæø"),),
    "fr": (Alphabet(encodings=_WESTERN, letters="éèàêçùâîôûëïœüÿæ"),),
    "de": (Alphabet(encodings=_WESTERN, letters="äöüß"),),
    "es": (Alphabet(encodings=_WESTERN, letters="ñáéíóúü"),),
    "pt": (Alphabet(encodings=_WESTERN, letters="ãõçáéíóúâêôà"),),
    "sv": (Alphabet(encodings=_WESTERN, letters="åäö"),),
    "da": (Alphabet(encodings=_WESTERN, letters="åæø"),),
    "nb": (Alphabet(encodings=_WESTERN, letters="åæø"),),
    "fi": (Alphabet(encodings=_WESTERN, letters="äöå"),),
    "it": (Alphabet(encodings=_WESTERN, letters="àèéìòù"),),
    "ja": (Alphabet(encodings=("cp932", "euc_jp", "iso2022_jp_2"), letters="", latin=False),),
    "ko": (Alphabet(encodings=("cp949", "iso2022_kr"), letters="", latin=False),),
    "zh": (Alphabet(encodings=("gb18030", "big5hkscs", "cp950"), letters="", latin=False),),
}
"""By the primary part of the language's tag."""
_SAME = {"no": "nb", "nn": "nb", "yi": "he", "iw": "he", "ur": "fa", "ckb": "fa", "yue": "zh", "cmn": "zh", "sh": "sr"}
WESTERN = Alphabet(encodings=_WESTERN, letters=_WESTERN_LETTERS)
"""For every language that has no entry: most others of the Latin script were kept so."""
FAMILIAR = frozenset(_WESTERN_LETTERS)
"""Letters of names from elsewhere, which any text in the Latin script may hold."""


def alphabets(language: str) -> tuple[Alphabet, ...]:
    """How a language (BCP 47, or a code of ISO 639-2) may be written; all ways that there are where it is ``und``."""
    primary = language_tag(language).partition("-")[0].lower()
    if primary == UNDETERMINED:
        return (WESTERN, *(each for entry in ALPHABETS.values() for each in entry))
    return ALPHABETS.get(_SAME.get(primary, primary), (WESTERN,))

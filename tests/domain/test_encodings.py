"""Subtitle files in the encodings of their languages."""

from __future__ import annotations

import time
import unicodedata

import pytest

from include.domain.media.alphabets import alphabets
from include.domain.media.encodings import UnknownEncoding, decode

SENTENCES = {
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "uk": "Всі люди народжуються вільними і рівними у своїй гідності та правах.",
    "be": "Усе людзі нараджаюцца свабоднымі і роўнымі ў сваёй годнасці і правах.",
    "bg": "Всички хора се раждат свободни и равни по достойнство и права.",
    "sr": "Сва људска бића рађају се слободна и једнака у достојанству и правима.",
    "hr": "Sva ljudska bića rađaju se slobodna i jednaka u dostojanstvu i pravima.",
    "pl": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
    "cs": "Všichni lidé rodí se svobodní a sobě rovní co do důstojnosti a práv.",
    "sk": "Všetci ľudia sa rodia slobodní a sebe rovní, čo sa týka ich dôstojnosti a práv.",
    "hu": "Minden emberi lény szabadon születik és egyenlő méltósága és joga van.",
    "ro": "Toate fiinţele umane se nasc libere şi egale în demnitate şi în drepturi.",
    "sl": "Vsi ljudje se rodijo svobodni, žičnica, črešnja in šola.",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.",
    "he": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
    "fa": "تمام افراد بشر آزاد به دنيا مي آيند و از لحاظ حيثيت و حقوق با هم برابرند.",
    "lt": "Visi žmonės gimsta laisvi ir lygūs savo orumu ir teisėmis.",
    "lv": "Visi cilvēki piedzimst brīvi un vienlīdzīgi savā pašcieņā un tiesībās.",
    "et": "Kõik inimesed sünnivad vabadena ja võrdsetena oma väärikuselt ja õigustelt.",
    "vi": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền.",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "es": "¿Nacen libres e iguales? ¡Sí, según la declaración de mañana!",
    "pt": "Nascem livres e iguais em dignidade e em direitos, e são dotados de razão e consciência.",
    "sv": "Alla människor är födda fria och lika i värde och rättigheter.",
    "en": "All human beings are born free… “it’s a café”, she said — naïve.",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "zh": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心。",
    "zh-TW": "人人生而自由，在尊嚴和權利上一律平等。他們賦有理性和良心。",
}
"""The first article of the Universal Declaration of Human Rights, or words of it."""


def file(text: str) -> str:
    return f"1\n00:00:01,000 --> 00:00:02,000\n{text}\n"


def cases() -> list[tuple[str, str, str]]:
    """Each sentence in each encoding of its language that has its letters: as it is, in small letters, in capitals."""
    found = []
    for language, sentence in SENTENCES.items():
        for encoding in dict.fromkeys(each for entry in alphabets(language) for each in entry.encodings):
            # Two capitals of the Macintosh are quotes and dashes elsewhere: a few words do not tell.
            if encoding == "mac_cyrillic":
                continue
            for text in dict.fromkeys((sentence, sentence.lower(), sentence.upper())):
                try:
                    text.encode(encoding)
                except UnicodeEncodeError:
                    continue
                found.append((language, encoding, text))
    return found


def test_a_sentence_in_each_encoding_of_its_language_is_read() -> None:
    wrong = []
    for language, encoding, text in cases():
        decoded = decode(file(text).encode(encoding), language)
        if decoded.text != file(text):
            wrong.append((language, encoding, decoded.encoding, decoded.text))

    assert len(cases()) > 150
    assert wrong == []


@pytest.mark.parametrize(
    ("language", "encoding", "name", "lines"),
    [
        ("ru", "cp1251", "windows-1251", ["Привет, мир!", "Как дела?"]),
        ("ru", "koi8_r", "KOI8-R", ["Привет, мир!", "Как дела?"]),
        ("ru", "cp866", "cp866", ["Привет, мир!", "Как дела?"]),
        ("uk-UA", "koi8_u", "KOI8-U", ["Як справи?", "Дякую, все гаразд."]),
        ("ja", "cp932", "Shift_JIS", ["こんにちは、世界", "元気ですか"]),
        ("ja", "euc_jp", "EUC-JP", ["こんにちは、世界", "元気ですか"]),
        ("ja", "iso2022_jp", "ISO-2022-JP", ["こんにちは、世界", "元気ですか"]),
        ("pl", "cp1250", "windows-1250", ["Zażółć gęślą jaźń", "Łódź"]),
        ("pl", "iso8859_2", "ISO-8859-2", ["Zażółć gęślą jaźń", "Łódź"]),
        ("zh-Hant", "big5", "Big5", ["你好嗎？", "很好，謝謝。"]),
        ("ko", "euc_kr", "EUC-KR", ["안녕하세요?", "네, 고맙습니다."]),
        ("el", "iso8859_7", "ISO-8859-7", ["Καλημέρα, Άννα.", "Ευχαριστώ πολύ."]),
        ("de", "mac_roman", "Mac roman", ["Schöne Grüße", "aus Köln"]),
    ],
)
def test_two_short_lines_are_enough(language: str, encoding: str, name: str, lines: list[str]) -> None:
    text = "\n".join(file(line) for line in lines)

    decoded = decode(text.encode(encoding), language)

    assert decoded.text == text
    assert decoded.encoding == name
    assert decoded.remark == f"is not UTF-8; read as {name}"


@pytest.mark.parametrize(
    ("code", "language", "encoding"), [("pol", "pl", "cp1250"), ("rus", "ru", "cp1251"), ("chi", "zh", "gb18030")]
)
def test_a_language_of_three_letters_is_the_one_of_two(code: str, language: str, encoding: str) -> None:
    assert decode(file(SENTENCES[language]).encode(encoding), code).text == file(SENTENCES[language])


def test_vietnamese_letters_are_joined_with_their_accents() -> None:
    # Windows keeps five tones as characters of their own, behind a letter that may have a hat already.
    text = "".join(
        unicodedata.normalize("NFC", f"{unicodedata.normalize('NFC', parts[:-1])}") + parts[-1]
        if (parts := unicodedata.normalize("NFD", char))[-1] in "\u0300\u0301\u0303\u0309\u0323"
        else char
        for char in SENTENCES["vi"]
    )

    assert decode(file(text).encode("cp1258"), "vi").text == file(SENTENCES["vi"])


@pytest.mark.parametrize(
    ("data", "encoding", "remark"),
    [
        (file("Grüße").encode(), "UTF-8", ""),
        (file("Grüße").encode("utf-8-sig"), "UTF-8", ""),
        (file("Grüße").encode("utf-16"), "UTF-16", ""),
        (file("Grüße").encode("utf-32"), "UTF-32", ""),
        (file("Grüße").encode("utf-16-le"), "UTF-16 (little-endian)", "has no byte order mark"),
        (file("Grüße").encode("utf-16-be"), "UTF-16 (big-endian)", "has no byte order mark"),
        (file("Grüße").encode().decode("cp1252").encode(), "UTF-8", "was encoded as UTF-8 twice"),
    ],
)
def test_unicode_in_all_its_forms(data: bytes, encoding: str, remark: str) -> None:
    decoded = decode(data, "de")

    assert (decoded.text, decoded.encoding) == (file("Grüße"), encoding)
    assert decoded.remark.startswith(remark)
    assert bool(decoded.remark) is bool(remark)


def test_japanese_in_utf_16_without_a_mark_is_told_by_its_times() -> None:
    text = "".join(
        file("すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。") for _ in range(5)
    )

    assert decode(text.encode("utf-16-le"), "ja").text == text
    assert decode(text.encode("utf-16-be"), "ja").text == text


def test_a_few_broken_bytes_of_utf_8_stay_few() -> None:
    data = file(SENTENCES["ru"]).encode()
    broken = data.replace("равными".encode(), "равными".encode()[:-1] + b"\xff", 1)

    decoded = decode(broken, "ru")

    assert decoded.encoding == "UTF-8"
    assert "broken characters" in decoded.remark
    assert "Все люди рождаются свободными и равным\ufffd" in decoded.text


@pytest.mark.parametrize(
    ("text", "encoding", "language"),
    [
        pytest.param(SENTENCES["ru"], "cp1251", "en", id="Russian as English"),
        pytest.param(SENTENCES["ru"], "koi8_r", "pl", id="Russian as Polish"),
        pytest.param(SENTENCES["ja"], "cp932", "ru", id="Japanese as Russian"),
        pytest.param(SENTENCES["el"], "cp1253", "de", id="Greek as German"),
        pytest.param(SENTENCES["fr"], "cp1252", "ru", id="French as Russian"),
    ],
)
def test_what_reads_as_its_language_in_no_encoding_is_refused(text: str, encoding: str, language: str) -> None:
    with pytest.raises(UnknownEncoding, match="send it as UTF-8"):
        decode(file(text).encode(encoding), language)


def test_a_large_file_is_decoded_in_little_time() -> None:
    data = file(SENTENCES["ja"]).encode("cp932") * 30_000
    started = time.process_time()

    decode(data, "ja")

    assert len(data) > 3_000_000
    assert time.process_time() - started < 5

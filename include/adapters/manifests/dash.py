"""The DASH manifest: the packager's, corrected by what was measured."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from include.adapters.manifests.contents import DASH, WHOLE_TEXT, AudioEntry, Contents, TextEntry
from include.domain.media.languages import UNDETERMINED
from include.domain.media.media import AudioRole

SURROUND = "5.1"
_MPD = "urn:mpeg:dash:schema:mpd:2011"
_ROLE_SCHEME = "urn:mpeg:dash:role:2011"
_PURPOSE_SCHEME = "urn:tva:metadata:cs:AudioPurposeCS:2007"
_ROLES = {AudioRole.COMMENTARY: "commentary", AudioRole.EFFECTS: "supplementary"}
_ACCESSIBILITY = {
    AudioRole.DESCRIPTION: ((_ROLE_SCHEME, "description"), (_PURPOSE_SCHEME, "1")),
    AudioRole.CLEAR_SPEECH: ((_ROLE_SCHEME, "enhanced-audio-intelligibility"), (_PURPOSE_SCHEME, "2")),
}
"""By both schemes: ISO/IEC 23009-1 has its roles, DVB (ETSI TS 103 285) the classification of TV-Anytime."""


def correct_dash(folder: Path, contents: Contents) -> None:
    """Put what was measured into the packager's DASH manifest, and add the subtitles."""
    ElementTree.register_namespace("", _MPD)
    ElementTree.register_namespace("xsi", "http://www.w3.org/2001/XMLSchema-instance")
    tree = ElementTree.parse(folder / DASH)  # noqa: S314  # reads only what the packager has just written
    period = _children(tree.getroot(), "Period")[0]
    videos = {entry.track.folder: entry.track for entry in contents.videos}
    audios = {entry.track.folder: entry for entry in contents.audios}
    for number, adaptation in enumerate(_children(period, "AdaptationSet")):
        # The packager numbers them in the order in which its threads came by.
        adaptation.set("id", str(number))
        adaptation.set("segmentAlignment", "true")
        adaptation.set("startWithSAP", "1")
        for representation in _children(adaptation, "Representation"):
            place = str(_children(representation, "SegmentTemplate")[0].get("initialization")).rpartition("/")[0]
            track = videos.get(place) or audios[place].track
            representation.set("id", track.name)
            representation.set("codecs", track.codec)
            representation.set("bandwidth", str(track.peak_bps(contents.target_s)))
            if track.kind == "video":
                representation.set("width", str(track.width))
                representation.set("height", str(track.height))
                representation.set("frameRate", str(track.frame_rate))
                adaptation.attrib.pop("frameRate", None)
            else:
                _describe(adaptation, audios[place])
    for number, text in enumerate(contents.texts, start=len(_children(period, "AdaptationSet"))):
        _add_text(period, number, text)
    if contents.name:
        about = ElementTree.Element(f"{{{_MPD}}}ProgramInformation")
        ElementTree.SubElement(about, f"{{{_MPD}}}Title").text = contents.name
        tree.getroot().insert(0, about)
    ElementTree.indent(tree)
    tree.write(folder / DASH, encoding="utf-8", xml_declaration=True)


def _children(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return element.findall(f"{{{_MPD}}}{name}")


def _describe(adaptation: ElementTree.Element, entry: AudioEntry) -> None:
    adaptation.attrib.pop("lang", None)
    if entry.language != UNDETERMINED:
        adaptation.set("lang", entry.language)
    for label in _children(adaptation, "Label"):
        # A menu lists each adaptation set: two layouts of one sound must not look the same.
        label.text = f"{entry.label} ({SURROUND})" if entry.track.channels > 2 else entry.label
    for role in _children(adaptation, "Role"):
        adaptation.remove(role)
    # The schema has labels before roles, and both before the representations.
    place = len(_children(adaptation, "Label"))
    for offset, (scheme, value) in enumerate(_ACCESSIBILITY.get(entry.role, ())):
        adaptation.insert(place + offset, _descriptor("Accessibility", scheme, value))
    place += len(_ACCESSIBILITY.get(entry.role, ()))
    adaptation.insert(place, _role("main" if entry.default else _ROLES.get(entry.role, "alternate")))


def _role(value: str) -> ElementTree.Element:
    return _descriptor("Role", _ROLE_SCHEME, value)


def _descriptor(name: str, scheme: str, value: str) -> ElementTree.Element:
    return ElementTree.Element(f"{{{_MPD}}}{name}", {"schemeIdUri": scheme, "value": value})


def _add_text(period: ElementTree.Element, number: int, text: TextEntry) -> None:
    language = {} if text.language == UNDETERMINED else {"lang": text.language}
    adaptation = ElementTree.SubElement(
        period,
        f"{{{_MPD}}}AdaptationSet",
        {"id": str(number), "contentType": "text", "mimeType": "text/vtt"} | language,
    )
    ElementTree.SubElement(adaptation, f"{{{_MPD}}}Label").text = text.label
    if text.hearing_impaired:
        # The schema has accessibility before roles. 2 of this scheme is "for the hard of hearing".
        adaptation.append(_descriptor("Accessibility", _PURPOSE_SCHEME, "2"))
    kind = "forced-subtitle" if text.forced else "caption" if text.hearing_impaired else "subtitle"
    adaptation.extend([_role("main")] if text.default else [])
    adaptation.append(_role(kind))
    representation = ElementTree.SubElement(
        adaptation, f"{{{_MPD}}}Representation", {"id": text.name, "bandwidth": str(text.peak_bps)}
    )
    ElementTree.SubElement(representation, f"{{{_MPD}}}BaseURL").text = f"{text.folder}/{WHOLE_TEXT}"

"""Which streams of a mezzanine are published, and as what: pure decisions over what the container says.

A mezzanine may hold several programmes, its sound as single channels, narration and commentary beside the main sound,
or more channels than its container has names for. What is decided beyond the usual is a :class:`Finding`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from include.domain.media.languages import matches
from include.domain.media.media import AudioRole, AudioStream, Finding, Tap

WIDTHS = {"mono": 1, "stereo": 2, "5.1": 6, "7.1": 8}
"""Channels of the layouts that a request may name."""
MOST_NAMED = 2
"""Up to so many channels a layout that the container does not name is clear: one is mono, two are stereo."""
LIKELY_SURROUND = 6
STEREO = 2
UNKNOWN = frozenset({None, "", "unknown"})
WAY_OUT = "a request can say how channels belong together in source.audio_layouts"
_ROLES = (
    (frozenset({"visual_impaired", "descriptions"}), AudioRole.DESCRIPTION),
    (frozenset({"comment"}), AudioRole.COMMENTARY),
    (frozenset({"hearing_impaired"}), AudioRole.CLEAR_SPEECH),
    (frozenset({"clean_effects", "karaoke"}), AudioRole.EFFECTS),
)
"""What containers flag, by ffprobe's names: Matroska's flags, MPEG-TS audio types, and the roles of an MP4."""
_TITLES = (
    (
        re.compile(r"\baudio[- ]?desc|\bdescriptive\b|\bdescribed\b|\baudiodes[ck]|\bvisually impaired\b|\bh[öo]rfilm"),
        AudioRole.DESCRIPTION,
    ),
    (re.compile(r"\bcommentary\b|\bcommentaires?\b|\bkommentar|\bcomentarios?\b|\bcommento\b"), AudioRole.COMMENTARY),
    (re.compile(r"\bmusic (?:and|&) effects\b|\bm ?& ?e\b"), AudioRole.EFFECTS),
)
"""What titles of tracks say where nothing is flagged, in lower case."""
_ALONE = re.compile(r"^1 channels \((\w+)\)$")
"""ffprobe's word for a single channel with a place: the position of one track of several."""
_LEFT = re.compile(r"(?:^|[\W_])(?:l|lt|left)$")
_RIGHT = re.compile(r"(?:^|[\W_])(?:r|rt|right)$")
_PAIRS = frozenset({("FL", "FR"), ("DL", "DR")})
_SURROUND = ({"FL"}, {"FR"}, {"FC"}, {"LFE"}, {"SL", "BL"}, {"SR", "BR"})
_LAYOUT_WORDS = re.compile(
    r"\b(?:mono|stereo|surround|atmos|dolby|digital|plus|dts|hd|ma|true ?hd|e?-?ac-?3|ddp?|aac|flac|pcm|audio)\b"
    r"|\b[1257]\.[01]\b|[\s()\[\],/_-]"
)
"""What a title may say of a track's form: two tracks that differ in nothing else are one sound in two layouts."""


@dataclass(frozen=True, kw_only=True)
class Programme:
    """One programme of a transport stream."""

    number: int
    name: str
    streams: frozenset[int]
    """Stream indexes."""

    def __str__(self) -> str:
        return f"{self.number} ({self.name})" if self.name else str(self.number)


class NotThere(ValueError):
    """What the request names is not in the mezzanine; the text names field, value and what there is."""


def chosen_programme(
    programmes: Sequence[Programme], pictures: Iterable[int], wanted: int | None
) -> tuple[Programme | None, list[Finding]]:
    """The programme to publish: the one that the request names, else the first with a picture; None for no choice.

    Args:
        programmes: All that the container lists.
        pictures: Indexes of the streams that are moving pictures.
        wanted: The number that the request names.
    """
    shown = frozenset(pictures)
    if wanted is not None:
        found = next((each for each in programmes if each.number == wanted), None)
        there = ", ".join(map(str, programmes)) or "none: only an MPEG transport stream has programmes"
        if found is None:
            raise NotThere(f"source.programme: there is no programme {wanted} in the mezzanine (there are: {there})")
        if not found.streams & shown:
            raise NotThere(f"source.programme: programme {wanted} has no picture (there are: {there})")
    else:
        found = next((each for each in programmes if each.streams & shown), None)
    if found is None or len(programmes) < 2:
        return found, []
    others = ", ".join(str(each) for each in programmes if each is not found)
    why = "as the request asks" if wanted is not None else "the first with a picture; source.programme names another"
    return found, [
        Finding(code="programmes", message=f"programme {found} is published, {why}. Left out: programme {others}")
    ]


def role_of(flags: Iterable[str], title: str | None) -> AudioRole:
    """What a sound track is for, by the container's flags, else by the track's title."""
    raised = frozenset(flags)
    for marks, role in _ROLES:
        if raised & marks:
            return role
    said = (title or "").lower()
    return next((role for pattern, role in _TITLES if pattern.search(said)), AudioRole.MAIN)


def without_receiver_mixes(
    tracks: Sequence[AudioStream], dependent: Collection[int]
) -> tuple[list[AudioStream], list[Finding]]:
    """The tracks without those that hold narration alone, for a receiver to mix into the main sound: no player does.

    Args:
        tracks: All that can be decoded.
        dependent: Indexes of the streams that the container flags as such.
    """
    whole = [track for track in tracks if track.index not in dependent]
    if not whole or len(whole) == len(tracks):
        return list(tracks), []
    named = ", ".join(f"{track.language} (stream {track.index})" for track in tracks if track.index in dependent)
    message = f"narration that a receiver mixes into the main sound is left out, web players cannot: {named}"
    return whole, [Finding(code="receiver_mix", message=message)]


def assembled(
    tracks: Sequence[AudioStream], *, unnamed_pairs: bool, asked: Sequence[str] = ()
) -> tuple[tuple[AudioStream, ...], list[Finding]]:
    """The tracks as they are meant: single channels joined, tracks of unknown layout told apart.

    Args:
        tracks: As the container lists them.
        unnamed_pairs: Whether neighbouring mono tracks without a position are left and right: so MXF and QuickTime.
            QuickTime's alternate groups do not tell: ffmpeg puts all sound into one, the halves of a stereo pair too.
        asked: Layouts that the request names (:data:`WIDTHS`), counted over the channels of all tracks in their order.
    """
    if asked:
        return _as_asked(tracks, asked)
    found: list[Finding] = []
    placed: list[AudioStream] = []
    told: dict[str, list[str]] = {}
    rest = list(tracks)
    while rest:
        count, layout, sure = _belong_together(rest, unnamed_pairs=unnamed_pairs)
        parts, rest = rest[:count], rest[count:]
        if count > 1:
            placed.append(_joined(parts, layout, named=sure))
            numbers = "+".join(str(tracks.index(each) + 1) for each in parts)
            told.setdefault(layout if sure else f"{layout} (the usual order; {WAY_OUT})", []).append(numbers)
        else:
            placed.append(_named(parts[0], tracks.index(parts[0]) + 1, found))
    found += [
        Finding(code="joined_audio", message=f"the mono audio tracks {', '.join(joined)} are published as {what}")
        for what, joined in told.items()
    ]
    return tuple(placed), found


def _as_asked(tracks: Sequence[AudioStream], asked: Sequence[str]) -> tuple[tuple[AudioStream, ...], list[Finding]]:
    channels = [
        (track, Tap(stream=track.index, channel=number)) for track in tracks for number in range(track.channels)
    ]
    wanted = sum(WIDTHS[layout] for layout in asked)
    if wanted > len(channels):
        raise NotThere(
            f"source.audio_layouts: {' + '.join(asked)} are {wanted} channels, the mezzanine has {len(channels)} in "
            f"{len(tracks)} audio tracks"
        )
    placed, position = [], 0
    for layout in asked:
        own = channels[position : position + WIDTHS[layout]]
        position += WIDTHS[layout]
        first = own[0][0]
        if len(own) == first.channels and all(track is first for track, _ in own) and first.channel_layout == layout:
            placed.append(first)
        else:
            placed.append(_tapped(first, tuple(tap for _, tap in own), layout))
    found = []
    if position < len(channels):
        message = f"{len(channels) - position} audio channels that source.audio_layouts does not name are left out"
        found.append(Finding(code="channels_left_out", message=message))
    return tuple(placed), found


def _belong_together(tracks: Sequence[AudioStream], *, unnamed_pairs: bool) -> tuple[int, str, bool]:
    """How many tracks from the first on are one, in which layout, and whether the container says so."""
    six, pair = tracks[:6], tracks[:2]
    if (
        len(six) == 6
        and _alike(six)
        and all(_position(each) in place for each, place in zip(six, _SURROUND, strict=True))
    ):
        return 6, "5.1", True
    if len(pair) == 2 and _alike(pair):
        places = (_position(pair[0]), _position(pair[1]))
        if places in _PAIRS or all(_titled(pair)):
            return 2, "stereo", True
        if unnamed_pairs and places == (None, None) and not any(each.title for each in pair):
            return 2, "stereo", False
    return 1, "", True


def _alike(tracks: Sequence[AudioStream]) -> bool:
    """Whether tracks are mono and can be channels of one sound."""
    first = tracks[0]
    return all(
        each.channels == 1
        and not each.taps
        and (each.codec, each.sample_rate_hz, each.language, each.role)
        == (first.codec, first.sample_rate_hz, first.language, first.role)
        for each in tracks
    )


def _position(track: AudioStream) -> str | None:
    """Where a mono track's only channel belongs; None where the container does not say, ``FC`` for plain mono."""
    if track.channel_layout in UNKNOWN:
        return None
    alone = _ALONE.match(track.channel_layout or "")
    return alone[1] if alone else "FC"


def _titled(pair: Sequence[AudioStream]) -> tuple[bool, bool]:
    left, right = ((each.title or "").strip().lower() for each in pair)
    return bool(_LEFT.search(left)), bool(_RIGHT.search(right))


def _joined(parts: Sequence[AudioStream], layout: str, *, named: bool) -> AudioStream:
    joined = _tapped(parts[0], tuple(Tap(stream=each.index, channel=0) for each in parts), layout)
    lengths = [each.duration_s for each in parts if each.duration_s is not None]
    return joined.model_copy(
        update={
            "title": None if named and all(_titled(parts[:2])) else joined.title,
            "default": any(each.default for each in parts),
            "duration_s": max(lengths, default=None),
        }
    )


def _named(track: AudioStream, number: int, found: list[Finding]) -> AudioStream:
    """A track whose layout is known, or the likely one of it; what is guessed is added to ``found``."""
    layout = track.channel_layout or ""
    if track.channels == 1 and _ALONE.match(layout):
        return _tapped(track, (Tap(stream=track.index, channel=0),), "mono")
    if layout.startswith("ambisonic"):
        message = f"audio track {number} is {layout}: its omnidirectional channel is published as mono"
        found.append(Finding(code="ambisonic", message=message))
        return _tapped(track, (Tap(stream=track.index, channel=0),), "mono")
    if layout not in UNKNOWN and not re.match(r"^\d+ channels$", layout):
        return track
    if track.channels <= MOST_NAMED:
        return track
    likely = "5.1" if track.channels >= LIKELY_SURROUND else "stereo"
    width = WIDTHS[likely]
    taken = "its channels are" if track.channels == width else f"its first {width} are"
    message = f"audio track {number} has {track.channels} channels without names: {taken} taken as {likely}; {WAY_OUT}"
    found.append(Finding(code="unnamed_channels", message=message))
    return _tapped(track, tuple(Tap(stream=track.index, channel=channel) for channel in range(width)), likely)


def _tapped(track: AudioStream, taps: tuple[Tap, ...], layout: str) -> AudioStream:
    return track.model_copy(update={"taps": taps, "channels": len(taps), "channel_layout": layout})


def main_first(tracks: Iterable[AudioStream]) -> tuple[AudioStream, ...]:
    """The tracks in the order in which they are offered: the main sound, the default one first, before all others.

    Of the alternatives of a QuickTime file the default one is that which is switched on.
    """
    return tuple(sorted(tracks, key=lambda track: (track.role is not AudioRole.MAIN, not track.default)))


def chosen_tracks(
    tracks: tuple[AudioStream, ...], languages: tuple[str, ...]
) -> tuple[list[AudioStream], tuple[Finding, ...]]:
    """The tracks to publish, the default one first: all of them where no main sound is in a wanted language."""
    wanted = [track for track in tracks if not languages or matches(track.language, languages)]
    warnings = []
    if not any(track.role is AudioRole.MAIN for track in wanted) and len(wanted) < len(tracks):
        there = ", ".join(dict.fromkeys(track.language for track in tracks))
        message = f"no audio track in {', '.join(languages)}; all tracks are kept ({there})"
        warnings.append(Finding(code="language_missing", message=message))
        wanted = list(tracks)
    return list(main_first(wanted)), tuple(warnings)


@dataclass(kw_only=True)
class Sound:
    """One thing to listen to, as a player's menu lists it: a language in a role, from one or two tracks."""

    track: AudioStream
    """What stereo is made of."""
    surround: AudioStream | None = None
    """What 5.1 is made of; None where there is none."""

    @property
    def title(self) -> str | None:
        """The tracks' own title; None where two tracks have two, which tell of their layouts."""
        same = self.surround is None or self.surround.title == self.track.title
        return self.track.title if same else None


def sounds(tracks: Sequence[AudioStream]) -> tuple[list[Sound], list[Finding]]:
    """The sounds that tracks hold: a stereo and a surround track of one language and role are one, in two layouts.

    A mono track is a sound of its own: it may be anything, and surround mixed to stereo is better than it.
    A second surround track of another width (5.1 beside 7.1) is the same once more and is left out.
    """
    found: list[Sound] = []
    left_out: list[Finding] = []
    for track in tracks:
        wide = track.channels >= LIKELY_SURROUND
        alike = [sound for sound in found if _same_sound(sound.track, track)]
        # Beside a stereo track a surround one is missing, and the other way round.
        lacking = [
            each
            for each in alike
            if (each.surround is None and each.track.channels == STEREO if wide else each.surround is each.track)
        ]
        open_one = lacking[0] if lacking and (wide or track.channels == STEREO) else None
        if open_one is not None and wide:
            open_one.surround = track
        elif open_one is not None:
            open_one.track = track
        elif wide and any(each.surround and each.surround.channels != track.channels for each in alike):
            message = f"a second surround track in {track.language} ({track.channels} channels) is left out"
            left_out.append(Finding(code="second_surround", message=message))
        else:
            found.append(Sound(track=track, surround=track if wide else None))
    return found, left_out


def _same_sound(one: AudioStream, other: AudioStream) -> bool:
    return (one.language, one.role, _words(one)) == (other.language, other.role, _words(other))


def _words(track: AudioStream) -> str:
    """What a title says beside the track's form."""
    return _LAYOUT_WORDS.sub("", (track.title or "").lower())

"""Subtitles: embedded tracks and the request's files, all to WebVTT that is safe to hand to a browser."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from include.adapters.fetching import fetch
from include.base.errors import CallsheetError, StorageError
from include.domain.media.captions import Cue, clip, webvtt
from include.domain.media.cue_checks import beyond_the_end, drifting, drifting_apart
from include.domain.media.cue_times import timing
from include.domain.media.encodings import UnknownEncoding, decode
from include.domain.media.labels import file_name, label, unique
from include.domain.media.languages import UNDETERMINED, language_tag
from include.domain.media.media import Finding, Inspection, SubtitleStream
from include.domain.outcome.results import TextRendition, TextResult
from include.domain.title.title import SubtitleFile, TitleJob
from include.stages.core import StageContext, stage
from include.stages.embedded_text import (
    MAX_BYTES,
    UNREAD,
    BadSubtitles,
    TextRead,
    caption_kinds,
    captions,
    digital_captions,
    read_as,
    track_text,
)
from include.stages.progress import Tell, part

log = logging.getLogger(__name__)

MAX_CUES = 60_000
"""One in less than a second and a half, for 24 hours."""
MAX_SHOWN_S = 1_200_000
"""How long all cues of a track are shown together, at most. A cue is in each segment that it reaches into: thousands
that are all shown to the end of a long title would become gigabytes."""
PICTURES = frozenset({"dvb_subtitle", "dvd_subtitle", "hdmv_pgs_subtitle", "xsub"})
"""Codecs of subtitle tracks that hold bitmaps."""
FILES_FROM = 0.95
"""Share of the stage's progress at which the mezzanine is read, and the request's files follow."""
CAPTION_READINGS = 4
"""At most: a look for captions, one for each field of CEA-608, and one for CEA-708."""
FETCH_LIMIT_S = 60.0
HEAD_CHARACTERS = 20_000
"""How far the beginning of a file is looked at to tell what it is."""


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where a track comes from, and how it is to be shown."""

    name: str
    """For people: ``subtitle file 2 (de)``."""
    language: str
    label: str
    forced: bool = False
    hearing_impaired: bool = False
    default: bool = False
    stream: int | None = None


@stage
def subtitles(ctx: StageContext, title: TitleJob, source: Inspection) -> TextResult:
    """Turn every subtitle track into WebVTT. A bad one is a warning: the title goes on without it."""
    tracks = _Tracks(ctx=ctx, duration_ms=round(source.duration_s * 1000))
    # Each subtitle track and each look for captions reads the mezzanine, whose files are fetched in moments.
    readings = len(source.subtitles) + CAPTION_READINGS
    parts = [part(ctx, FILES_FROM * each / readings, FILES_FROM * (each + 1) / readings) for each in range(readings)]
    for number, track in enumerate(source.subtitles, start=1):
        shown = _Source(
            name=f"subtitle track {number} ({track.language})",
            language=track.language,
            label=_menu_name(track.language, track.title, track),
            forced=track.forced,
            hearing_impaired=track.hearing_impaired,
            default=track.default,
            stream=track.index,
        )
        if track.codec in PICTURES:
            message = (
                f"subtitle track {number} ({track.language}, {track.codec}) is pictures, not text, and is left out: "
                "what has been read from them can be sent with the title as a file"
            )
            tracks.warn("bitmap_subtitles", message)
            continue
        tracks.add(shown, partial(track_text, ctx, source, track, parts[number - 1]))
    _captions(ctx, source, tracks, parts[len(source.subtitles) :])
    for number, file in enumerate(title.subtitles, start=1):
        # As those of embedded tracks are: manifests want the shortest tag (BCP 47).
        language = language_tag(file.language)
        ctx.report(FILES_FROM + (1 - FILES_FROM) * number / (len(title.subtitles) + 1), f"subtitles {file.language}")
        shown = _Source(
            name=f"subtitle file {number} ({file.language})",
            language=language,
            label=_menu_name(language, file.label, file),
            forced=file.forced,
            hearing_impaired=file.hearing_impaired,
            default=file.default,
        )
        tracks.add(shown, partial(_requested, ctx, file, number))
    return TextResult(renditions=tuple(tracks.renditions), warnings=tuple(tracks.warnings))


def _captions(ctx: StageContext, source: Inspection, tracks: _Tracks, parts: Sequence[Tell]) -> None:
    """Captions in the picture as tracks: those of the first field or service in the language of the main sound.

    Where the picture has text in CEA-608, its CEA-708 is not read: broadcasters send the same captions in both, and
    nothing is to appear twice. CEA-708 is read where no channel of CEA-608 has text.
    """
    try:
        channels = caption_kinds(ctx, source, parts[0])
    except BadSubtitles as error:
        tracks.warn(UNREAD.code, str(error))
        return
    spoken = source.audio[0].language if source.audio else UNDETERMINED
    before = len(tracks.renditions)
    for field_number in channels.fields:
        language = spoken if field_number == 1 else UNDETERMINED
        name = f"{label(language)} (CC)" if language != UNDETERMINED else f"CC{2 * field_number - 1}"
        shown = _Source(
            name=f"captions in the picture (CEA-608, field {field_number})",
            language=language,
            label=name,
            hearing_impaired=True,
        )
        tracks.add(shown, partial(captions, ctx, source, field_number, parts[field_number]), or_nothing=True)
    if channels.digital and len(tracks.renditions) == before:
        _digital_captions(ctx, source, spoken, tracks, parts[-1])


def _digital_captions(ctx: StageContext, source: Inspection, spoken: str, tracks: _Tracks, tell: Tell) -> None:
    try:
        services = digital_captions(ctx, source, tell)
    except BadSubtitles as error:
        tracks.warn(UNREAD.code, f"the CEA-708 captions in the picture: {error}")
        return
    if services is None:
        tracks.warnings.append(UNREAD)
        return
    for number in services:
        language = spoken if number == 1 else UNDETERMINED
        shown = _Source(
            name=f"captions in the picture (CEA-708, service {number})",
            language=language,
            label=f"{label(language)} (CC)" if language != UNDETERMINED else f"Service {number} (CC)",
            hearing_impaired=True,
        )
        tracks.add(shown, partial(services.__getitem__, number))


@dataclass(kw_only=True)
class _Tracks:
    """The tracks of a title as they come, and what was found on the way."""

    ctx: StageContext
    duration_ms: int
    renditions: list[TextRendition] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    kept: list[tuple[_Source, list[Cue]]] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def warn(self, code: str, message: str) -> None:
        """Add a finding."""
        self.warnings.append(Finding(code=code, message=message))

    def add(self, source: _Source, read: Callable[[], TextRead], *, or_nothing: bool = False) -> None:
        """Read one track and store it; a bad one becomes a finding, an empty one as well but with ``or_nothing``."""
        try:
            found = read()
            if or_nothing and not found.cues:
                return
            for code, said in found.said:
                self.warn(code, f"{source.name}: {said}")
            self._store(source, found.cues)
        except BadSubtitles as error:
            self.warn("bad_subtitles", f"{source.name}: {error}")

    def _store(self, source: _Source, cues: list[Cue]) -> None:
        if len(cues) > MAX_CUES:
            raise BadSubtitles(f"has {len(cues)} cues, the limit is {MAX_CUES}")
        shown = clip(cues, duration_ms=self.duration_ms)
        shown_s = sum(cue.end_ms - cue.start_ms for cue in shown) / 1000
        if shown_s > MAX_SHOWN_S:
            most = f"at most {MAX_SHOWN_S / 3600:.0f} h are served"
            raise BadSubtitles(f"has cues of {shown_s / 3600:.0f} h together, {most}")
        if not shown:
            raise BadSubtitles("has nothing to show within the title")
        self._judge(source, cues)
        self.kept.append((source, cues))
        name = unique(file_name(source.language), self.names, joint="_")
        key = self.ctx.key(f"text/{name}.vtt")
        self.ctx.store.put_bytes(key, webvtt(shown).encode())
        # Players start one track by themselves: the first that asks for it.
        default = source.default and not any(each.default for each in self.renditions)
        self.renditions.append(
            TextRendition(
                name=name,
                uri=key,
                language=source.language,
                label=source.label,
                forced=source.forced,
                hearing_impaired=source.hearing_impaired,
                default=default,
                cues=len(shown),
                stream=source.stream,
            )
        )

    def _judge(self, source: _Source, cues: list[Cue]) -> None:
        """Say where the cues cannot be this title's, or run at another speed."""
        late = beyond_the_end(cues, duration_ms=self.duration_ms)
        if late:
            self.warn("subtitles_too_long", f"{source.name}: {late}")
        drift = drifting(cues, duration_ms=self.duration_ms)
        if drift:
            self.warn("subtitles_drift", f"{source.name}: {drift}")
        for other, others in self.kept:
            apart = drifting_apart(others, cues)
            if apart:
                self.warn("subtitles_drift", f"{source.name} and {other.name} drift apart: {apart}")
                break


def recognised(text: str) -> str:
    """``webvtt``, ``ass`` or ``srt`` by content; anything else, a playlist say, raises :class:`BadSubtitles`."""
    start = text.lstrip("\ufeff \n\t")
    if re.match(r"WEBVTT(?:[ \t\n]|$)", start):
        return "webvtt"
    head = start[:HEAD_CHARACTERS].split("\n")
    if any(line.strip().lower() == "[script info]" for line in head):
        return "ass"
    if any(timing(line) is not None for line in head):
        return "srt"
    raise BadSubtitles("is neither SubRip, WebVTT nor ASS")


def _requested(ctx: StageContext, file: SubtitleFile, number: int) -> TextRead:
    fetched = ctx.scratch / f"file{number}"
    try:
        fetch(file.uri, fetched, ctx.settings, limit_bytes=MAX_BYTES, limit_s=min(FETCH_LIMIT_S, ctx.time_left_s))
    except StorageError:
        # Our own store or disk refused: another attempt may end better.
        raise
    except CallsheetError as error:
        # The whole message names addresses, and warnings are published.
        log.warning("%s: %s", ctx.title.request_id, error.message)
        raise BadSubtitles(f"was not fetched ({error.reason or 'unreachable'})") from error
    try:
        decoded = decode(fetched.read_bytes(), file.language)
    except UnknownEncoding as error:
        raise BadSubtitles(str(error)) from error
    found = read_as(recognised(decoded.text), decoded.text)
    said = [("subtitle_encoding", decoded.remark)] if decoded.remark else []
    return TextRead(cues=found.cues, said=[*said, *found.said])


def _menu_name(language: str, own: str | None, flags: SubtitleStream | SubtitleFile) -> str:
    """A track's own name; else its language's, and what tells it from others of that language."""
    what = " (forced)" if flags.forced else " (SDH)" if flags.hearing_impaired else ""
    return label(language, own) if own else f"{label(language)}{what}"

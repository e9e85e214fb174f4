"""Subtitles: embedded tracks and the request's files, all to WebVTT that is safe to hand to a browser."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

from include.adapters.ffmpeg.commands import input_argv, prelude
from include.adapters.mezzanine import fetch, open_mezzanine
from include.adapters.process import run
from include.adapters.tools import ffmpeg
from include.base.errors import CallsheetError, StorageError, ToolFailed
from include.domain.media.captions import Cue, clean_cue, clip, webvtt
from include.domain.media.labels import label
from include.domain.media.media import Finding, Inspection, SubtitleStream
from include.domain.outcome.results import TextRendition, TextResult
from include.domain.title.title import SubtitleFile, TitleJob
from include.stages.core import StageContext, stage

log = logging.getLogger(__name__)

MAX_BYTES = 4 * 1024**2
MAX_CUES = 20_000
FETCH_LIMIT_S = 60.0
CONVERSION_LIMIT_S = 120.0


class BadSubtitles(Exception):
    """A file or track that does not become subtitles; its text says why."""


@stage
def subtitles(ctx: StageContext, title: TitleJob, source: Inspection) -> TextResult:
    """Turn every subtitle track into WebVTT. A bad one is a warning: the title goes on without it."""
    renditions: list[TextRendition] = []
    warnings: list[Finding] = []
    names: set[str] = set()
    for number, track in enumerate(source.subtitles, start=1):
        if not track.text:
            message = f"subtitle track {number} ({track.language}, {track.codec}) is pictures, not text"
            warnings.append(Finding(code="bitmap_subtitles", message=message))
            continue
        try:
            cues = _embedded(ctx, source, track)
            name = label(track.language, track.title)
            renditions.append(_stored(ctx, source, cues, track.language, name, names, forced=track.forced))
        except BadSubtitles as error:
            warnings.append(Finding(code="bad_subtitles", message=f"subtitle track {number}: {error}"))
    for number, file in enumerate(title.subtitles, start=1):
        ctx.report(number / (len(title.subtitles) + 1), f"subtitles {file.language}")
        try:
            cues = _requested(ctx, file, number)
            renditions.append(_stored(ctx, source, cues, file.language, label(file.language), names, forced=False))
        except BadSubtitles as error:
            message = f"subtitle file {number} ({file.language}): {error}"
            warnings.append(Finding(code="bad_subtitles", message=message))
    return TextResult(renditions=tuple(renditions), warnings=tuple(warnings))


def decoded(data: bytes) -> str:
    """The text of a subtitle file: UTF-8 or UTF-16 by its mark, UTF-8, else Windows-1252."""
    encoding = "utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    if "\0" in text:
        raise BadSubtitles("is not text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def recognised(text: str) -> str:
    """``webvtt``, ``ass`` or ``srt`` by content; anything else, a playlist say, raises :class:`BadSubtitles`."""
    start = text.lstrip("\ufeff \n\t")
    if re.match(r"WEBVTT(?:[ \t\n]|$)", start):
        return "webvtt"
    if re.match(r"\[script info\]", start, re.IGNORECASE):
        return "ass"
    if re.match(r"(?:\d+[ \t]*\n)?\d+:\d{2}:\d{2}[,.]\d{1,3}[ \t]*-->", start):
        return "srt"
    raise BadSubtitles("is neither SubRip, WebVTT nor ASS")


def parsed(text: str, kind: str) -> list[Cue]:
    """The cues of SubRip or WebVTT text, made safe; raises :class:`BadSubtitles`."""
    import webvtt as reader
    from webvtt.errors import MalformedCaptionError, MalformedFileError

    try:
        captions = reader.from_buffer(io.StringIO(text), format="srt" if kind == "srt" else "vtt")
    except (MalformedFileError, MalformedCaptionError, ValueError) as error:
        raise BadSubtitles(f"cannot be read: {error}") from error
    if len(captions) > MAX_CUES:
        raise BadSubtitles(f"has {len(captions)} cues, the limit is {MAX_CUES}")
    cleaned = (
        clean_cue(
            start_ms=caption.start_time.in_milliseconds(),
            end_ms=caption.end_time.in_milliseconds(),
            text=caption.raw_text,
            settings=str(caption.settings),
        )
        for caption in captions.captions
    )
    return [cue for cue in cleaned if cue is not None]


def _embedded(ctx: StageContext, source: Inspection, track: SubtitleStream) -> list[Cue]:
    output = ctx.scratch / f"track{track.index}.vtt"
    argv = prelude(ffmpeg(ctx.settings), level="warning", overwrite=True)
    argv += [*input_argv(open_mezzanine(ctx, source)), "-map", f"0:{track.index}", "-c:s", "webvtt", "-f", "webvtt"]
    try:
        run([*argv, str(output)], timeout_s=ctx.time_left_s)
    except ToolFailed as error:
        log.warning("%s: %s", ctx.title.request_id, error.message)
        raise BadSubtitles("cannot be converted") from error
    return parsed(_bounded(output), "webvtt")


def _requested(ctx: StageContext, file: SubtitleFile, number: int) -> list[Cue]:
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
    text = decoded(fetched.read_bytes())
    kind = recognised(text)
    if kind != "ass":
        return parsed(text, kind)
    given, output = ctx.scratch / f"file{number}.ass", ctx.scratch / f"file{number}.vtt"
    given.write_text(text, encoding="utf-8")
    argv = prelude(ffmpeg(ctx.settings), level="error", overwrite=True)
    # The format is forced and only files are allowed: nothing in the text can make ffmpeg open another address.
    argv += ["-protocol_whitelist", "file", "-format_whitelist", "ass", "-f", "ass", "-i", f"file:{given}"]
    try:
        run([*argv, "-c:s", "webvtt", "-f", "webvtt", str(output)], timeout_s=min(CONVERSION_LIMIT_S, ctx.time_left_s))
    except ToolFailed as error:
        log.warning("%s: %s", ctx.title.request_id, error.message)
        raise BadSubtitles("cannot be converted") from error
    return parsed(_bounded(output), "webvtt")


def _stored(
    ctx: StageContext, source: Inspection, cues: list[Cue], language: str, name: str, names: set[str], *, forced: bool
) -> TextRendition:
    end_s = source.video.start_time_s + source.video.duration_s
    shown = clip(cues, duration_ms=round(end_s * 1000))
    if not shown:
        raise BadSubtitles("has nothing to show within the title")
    key_name = _key_name(language, names)
    key = ctx.key(f"text/{key_name}.vtt")
    ctx.store.put_bytes(key, webvtt(shown).encode())
    return TextRendition(name=key_name, uri=key, language=language, label=name, forced=forced, cues=len(shown))


def _bounded(path: Path) -> str:
    if path.stat().st_size > MAX_BYTES:
        raise BadSubtitles(f"is larger than {MAX_BYTES} bytes as WebVTT")
    return decoded(path.read_bytes())


def _key_name(language: str, taken: set[str]) -> str:
    tag = re.sub(r"[^A-Za-z0-9-]", "", language) or "und"
    number, name = 2, tag
    while name in taken:
        name, number = f"{tag}_{number}", number + 1
    taken.add(name)
    return name

"""The text that a mezzanine brings: its subtitle tracks, and the captions in its picture."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from include.adapters.ffmpeg.commands import EncoderProgress
from include.adapters.ffmpeg.following import follow
from include.adapters.ffmpeg.opening import input_argv, input_options
from include.adapters.ffmpeg.text_tracks import (
    ASS_S,
    LEAD_S,
    ROUTES,
    ass_script,
    caption_data_argv,
    captions_argv,
    heard_stream,
    packets_argv,
    read_packets,
    track_argv,
    user_data_argv,
)
from include.adapters.mezzanine import open_mezzanine
from include.adapters.tools import encode_threads, ffmpeg
from include.base.errors import ToolFailed
from include.domain.media.ass_reading import read_ass
from include.domain.media.captions import Cue
from include.domain.media.closed_captions import CaptionChannels, caption_channels
from include.domain.media.cue_reading import Reading, read_subrip, read_webvtt
from include.domain.media.dtvcc import MAX_CUES, DtvccDecoder
from include.domain.media.media import Finding, Inspection, SubtitleStream
from include.domain.recipe.codecs import USER_DATA
from include.stages.core import StageContext
from include.stages.progress import Tell, counting, within

log = logging.getLogger(__name__)

MAX_BYTES = 12 * 1024**2
CHUNK_BYTES = 1024**2
READ_LIMIT_S = 120
READ_SPEED = 60
"""For the decoding of a picture's CEA-708: two minutes, and a 60th of a title of more than two hours. Hours of the
usual take a few seconds."""
DECODED = 0.9
"""Share of the reading of a picture's CEA-708 at which its data are out of the pictures."""
READERS: dict[str, Callable[..., Reading]] = {"webvtt": read_webvtt, "srt": read_subrip, "ass": read_ass}
UNREAD = Finding(
    code="captions_not_read",
    message="the picture carries CEA-708 captions of which no packet is whole: the title goes without them",
)


class BadSubtitles(Exception):
    """A file or track that does not become subtitles; its text says why."""


@dataclass(frozen=True, kw_only=True)
class TextRead:
    """The cues of a track or file, and what is to be said about them: code and sentence."""

    cues: list[Cue]
    said: list[tuple[str, str]] = field(default_factory=list)


def read_as(kind: str, text: str, *, zero_ms: int = 0) -> TextRead:
    """The cues of text of one of :data:`READERS`, and what was odd about others."""
    reading = READERS[kind](text, zero_ms=zero_ms)
    odd = reading.remarks
    return TextRead(cues=reading.cues, said=[("odd_cues", f"odd cues ({odd.count}): {odd}")] if odd.count else [])


def track_text(ctx: StageContext, source: Inspection, track: SubtitleStream, tell: Tell) -> TextRead:
    """The cues of one subtitle track, on the title's clock; raises :class:`BadSubtitles`."""
    if track.codec not in ROUTES:
        raise BadSubtitles(f"is {track.codec}, which is not read")
    output = ctx.scratch / f"track{track.index}.txt"
    opened = open_mezzanine(ctx, source)
    late = replace(opened, origin_s=opened.origin_s - LEAD_S).argv()
    route = ROUTES[track.codec]
    argv = track_argv(
        ffmpeg(ctx.settings),
        late,
        index=track.index,
        codec=track.codec,
        output=str(output),
        heard=heard_stream(source.container, source.video.index),
    )
    reading = _Reading(ctx, source, tell, f"subtitle track {track.index}", failure="cannot be converted")
    if route.muxer == "ass":
        text = _ass_text(reading, argv, output, stream=f"0:{track.index}", encoder=route.encoder)
    else:
        reading.run(argv)
        text = _bounded(output)
    if track.codec == "dvb_teletext":
        # Its blanks are all of the kind at which no line may break.
        text = text.replace("\\h", " ")
    return read_as(route.muxer, text, zero_ms=LEAD_S * 1000)


def captions(ctx: StageContext, source: Inspection, field_number: int, tell: Tell) -> TextRead:
    """The captions (CEA-608) of field 1 or 2 that ride in the picture; raises :class:`BadSubtitles`."""
    opened = open_mezzanine(ctx, source)
    output = ctx.scratch / f"captions{field_number}.ass"
    argv = captions_argv(
        ffmpeg(ctx.settings),
        opened.target,
        input_options(opened.address),
        index=source.video.index,
        second_field=field_number == 2,
        offset_s=LEAD_S - opened.origin_s,
        threads=encode_threads(ctx.settings),
        output=str(output),
    )
    reading = _Reading(ctx, source, tell, f"captions of field {field_number}", failure="cannot be read")
    text = _ass_text(reading, argv, output, stream="0:s", encoder="ass", reads=[opened.target])
    return read_as("ass", text, zero_ms=LEAD_S * 1000)


def digital_captions(ctx: StageContext, source: Inspection, tell: Tell) -> dict[int, TextRead] | None:
    """The captions (CEA-708) that ride in the picture, by service; None where none of their packets is whole.

    Raises :class:`BadSubtitles`.
    """
    opened = open_mezzanine(ctx, source)
    data_path, times_path = ctx.scratch / "captions.bin", ctx.scratch / "captions.times"
    argv = caption_data_argv(
        ffmpeg(ctx.settings),
        opened.target,
        input_options(opened.address),
        index=source.video.index,
        offset_s=LEAD_S - opened.origin_s,
        threads=encode_threads(ctx.settings),
        data=str(data_path),
        times=str(times_path),
    )
    reading = _Reading(ctx, source, within(tell, 0.0, DECODED), "captions", failure="cannot be read")
    reading.run(argv, reads=[opened.target])
    understood = _time_told(within(tell, DECODED, 1.0), "captions", source)
    limit_s = max(READ_LIMIT_S, source.duration_s / READ_SPEED)
    decoder, limit = DtvccDecoder(), time.monotonic() + limit_s
    with times_path.open() as times, data_path.open("rb") as data:
        for time_ms, _, triplets in read_packets(times, data):
            decoder.picture(triplets, time_ms - LEAD_S * 1000)
            understood(time_ms / 1000 - LEAD_S)
            if time.monotonic() > limit:
                raise BadSubtitles(f"take more than {limit_s:.0f} s to read")
    data_path.unlink()
    times_path.unlink()
    if not decoder.packets:
        return None
    found = {}
    for number, service in decoder.finish(round(source.duration_s * 1000)).items():
        said = [("odd_cues", f"more than {MAX_CUES} cues: the later ones are left out")] if service.cut else []
        found[number] = TextRead(cues=service.cues, said=said)
    return found


def caption_kinds(ctx: StageContext, source: Inspection, tell: Tell) -> CaptionChannels:
    """Which captions the video stream's user data hold, without decoding it; none where its codec carries none."""
    if source.video.codec not in USER_DATA:
        return CaptionChannels()
    output = ctx.scratch / "user_data.bin"
    argv = user_data_argv(
        ffmpeg(ctx.settings),
        input_argv(open_mezzanine(ctx, source).address),
        index=source.video.index,
        codec=source.video.codec,
        output=str(output),
    )
    lost = "the user data of the picture cannot be read: captions in it, if any, are lost"
    try:
        _Reading(ctx, source, tell, "looking for captions", failure=lost).run(argv)
    except BadSubtitles:
        if not output.exists() or not output.stat().st_size:
            raise
    with output.open("rb") as data:
        found = caption_channels(iter(lambda: data.read(CHUNK_BYTES), b""))
    output.unlink()
    return found


def _ass_text(
    reading: _Reading, argv: list[str], output: Path, *, stream: str, encoder: str, reads: Sequence[str] = ()
) -> str:
    """What a command writes as ASS; of a title that is too long for the times of ASS by way of its packets."""
    if reading.source.duration_s + LEAD_S < ASS_S:
        reading.run(argv, reads=reads)
        return _bounded(output)
    data_path, times_path = output.with_suffix(".packets"), output.with_suffix(".times")
    outputs = packets_argv(stream, encoder=encoder, data=str(data_path), times=str(times_path))
    reading.run([*argv, *outputs], reads=reads)
    head = _bounded(output)
    _bounded(data_path)
    with times_path.open() as times, data_path.open("rb") as data:
        return ass_script(head, read_packets(times, data))


@dataclass(frozen=True)
class _Reading:
    """Reads a mezzanine from its beginning to its end for the text in it, and tells how far it is."""

    ctx: StageContext
    source: Inspection
    tell: Tell
    what: str
    failure: str
    """What is said where it cannot be read."""

    def run(self, argv: list[str], *, reads: Sequence[str] = ()) -> None:
        """Run the command, which tells its progress; raises :class:`BadSubtitles`."""
        reached = _time_told(self.tell, self.what, self.source)

        def told(state: EncoderProgress) -> None:
            # What it writes may be an hour late (LEAD_S); with -copyts it counts from where it was when it first told.
            reached(min(state.out_time_s or 0.0, self.source.duration_s))

        try:
            follow(argv, told, timeout_s=self.ctx.time_left_s, folder=self.ctx.scratch, reads=reads)
        except ToolFailed as error:
            log.warning("%s: %s", self.ctx.title.request_id, error.message)
            raise BadSubtitles(self.failure) from error


def _time_told(tell: Tell, what: str, source: Inspection) -> Callable[[float], None]:
    whole_s = source.duration_s
    return counting(tell, lambda done_s: f"{what}: {done_s:.0f} of {whole_s:.0f} s read", whole=whole_s)


def _bounded(path: Path) -> str:
    if path.stat().st_size > MAX_BYTES:
        raise BadSubtitles(f"is larger than {MAX_BYTES} bytes as text")
    data = path.read_bytes()
    if b"\0" in data:
        # WebVTT in boxes (wvtt) is copied as it is.
        raise BadSubtitles("is text in boxes, which is not read")
    return data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")

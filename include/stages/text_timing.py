"""Do subtitles come when the mezzanine's do? A part of the stage ``check``."""

from __future__ import annotations

from collections.abc import Sequence

from include.adapters.ffmpeg.ffprobe import packets
from include.adapters.mezzanine import open_mezzanine
from include.adapters.tools import ffprobe
from include.domain.media.cue_checks import misplaced
from include.domain.media.cue_reading import read_webvtt
from include.domain.media.media import Inspection
from include.domain.outcome.results import CheckOutcome, TextRendition, TextVerdict
from include.stages.core import StageContext
from include.stages.progress import Tell, counting, within


def text_verdicts(
    ctx: StageContext, source: Inspection, tracks: Sequence[TextRendition], tell: Tell
) -> tuple[TextVerdict, ...]:
    """The verdict on each subtitle track that was read from a stream of the mezzanine; files of a request have none.

    The stream's packets are listed from its start, by another tool than the one that made the cues of them.
    """
    read = [(track, track.stream) for track in tracks if track.stream is not None]
    parts = [within(tell, number / len(read), (number + 1) / len(read)) for number in range(len(read))]
    return tuple(_verdict(ctx, source, *each, report) for each, report in zip(read, parts, strict=True))


def _verdict(ctx: StageContext, source: Inspection, track: TextRendition, stream: int, tell: Tell) -> TextVerdict:
    opened, whole_s = open_mezzanine(ctx, source), source.duration_s
    told = counting(tell, lambda at_s: f"reading text {track.name}: {at_s:.0f} of {whole_s:.0f} s", whole=whole_s)
    listed = packets(
        ffprobe(ctx.settings),
        opened.address,
        index=stream,
        timeout_s=ctx.time_left_s,
        told=lambda time_s: told(time_s - opened.origin_s),
    )
    cues = read_webvtt(ctx.store.get_bytes(track.uri).decode()).cues
    wrong = misplaced([round((time_s - opened.origin_s) * 1000) for time_s in listed.times_s], cues)
    return TextVerdict(
        track=track.name,
        outcome=CheckOutcome.FAIL if wrong else CheckOutcome.PASS,
        reasons=(wrong,) if wrong else (),
    )

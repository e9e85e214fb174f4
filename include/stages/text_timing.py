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


def text_verdicts(ctx: StageContext, source: Inspection, tracks: Sequence[TextRendition]) -> tuple[TextVerdict, ...]:
    """The verdict on each subtitle track that was read from a stream of the mezzanine; files of a request have none.

    The stream's packets are listed from its start, by another tool than the one that made the cues of them.
    """
    return tuple(_verdict(ctx, source, track, track.stream) for track in tracks if track.stream is not None)


def _verdict(ctx: StageContext, source: Inspection, track: TextRendition, stream: int) -> TextVerdict:
    opened = open_mezzanine(ctx, source)
    listed = packets(ffprobe(ctx.settings), opened.address, index=stream, timeout_s=ctx.time_left_s)
    cues = read_webvtt(ctx.store.get_bytes(track.uri).decode()).cues
    wrong = misplaced([round((time_s - opened.origin_s) * 1000) for time_s in listed.times_s], cues)
    return TextVerdict(
        track=track.name,
        outcome=CheckOutcome.FAIL if wrong else CheckOutcome.PASS,
        reasons=(wrong,) if wrong else (),
    )

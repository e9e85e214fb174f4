"""Stills and moving previews: poster, thumbnail, sprite sheets with WebVTT, a five second preview as MP4 and GIF."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from include.adapters.ffmpeg.commands import prelude
from include.adapters.ffmpeg.encoders.x264 import plain_x264_options
from include.adapters.ffmpeg.following import follow_reading
from include.adapters.ffmpeg.landing import reach
from include.adapters.ffmpeg.opening import OpenedMezzanine
from include.adapters.ffmpeg.picture import as_jpeg, decoder_options, scaled, source_filters
from include.adapters.mezzanine import open_mezzanine
from include.adapters.process import run
from include.adapters.tools import ffmpeg
from include.base.errors import EncoderCrashed, ToolFailed
from include.domain.media.clock import title_frames
from include.domain.media.media import Analysis, Inspection, VideoStream
from include.domain.media.sprites import PATTERN, TILE, WEBVTT, Sprites, sprites_of
from include.domain.outcome.results import ImagesResult
from include.domain.recipe.rungs import output_frame_rate
from include.domain.recipe.treatment import SourceTreatment, sdr_treatment
from include.domain.title.title import TitleJob
from include.stages.core import StageContext, stage
from include.stages.progress import Tell, counting, part

POSTER_BOX = (1920, 1080)
THUMBNAIL = (320, 180)
PREVIEW_S = 5.0
PREVIEW_BOX = (640, 360)
GIF_BOX = (320, 180)
GIF_FPS = 10
LONG_S = 600.0
"""From this duration on the sprite sheets are made from keyframes alone, where those are near enough to each other."""
KEYFRAMES_APART_S = 20.0
"""Further apart they would leave the same picture on several tiles, though others lie between."""

SOUGHT, READ = (0.1, 0.8, 0.9), (0.35, 0.65, 0.95)
"""Shares of the stage's progress: poster and thumbnail are there, the sprite sheets, the moving preview. The second are
those of a source that has to be read from its start for each of them."""

Node = Any
"""A stream of an ffmpeg-python graph; that package ships no types."""
Output = tuple[Node, Path, dict[str, Any]]
"""What is written, where to, and ffmpeg's options for it."""


@stage
def images(ctx: StageContext, title: TitleJob, source: Inspection, analysis: Analysis) -> ImagesResult:
    """Make the title's pictures, all from the mezzanine."""
    video = source.video
    duration_s = source.duration_s
    # Where sound goes on after the last picture there is none to begin with.
    last_s = max(0.0, video.end_s - float(2 / video.fps))
    # Pictures are SDR whatever the rungs are: every browser and every list of titles shows them.
    treatment = sdr_treatment(video, analysis)
    opened = open_mezzanine(ctx, source)
    poster_s = poster_time(analysis, duration_s)
    preview_s = max(0.0, min(poster_s, last_s, duration_s - PREVIEW_S))
    sprites = sprites_of(duration_s, video.fps)

    made = {name: ctx.scratch / name for name in (*FILES, *sprites.sheets)}
    still, tiled, moved = SOUGHT if opened.seeks else READ
    tell = part(ctx, 0.0, still)
    poster_s = _still(ctx, opened, video, treatment, made["poster.jpg"], made["thumbnail.jpg"], tell, at_s=poster_s)
    _sprite_sheets(ctx, opened, source, treatment, sprites, part(ctx, still, tiled))
    made[WEBVTT].write_text(sprites.webvtt(duration_s))
    ctx.report(tiled, "previews")
    rate = output_frame_rate(video, treatment)
    reading = _Reading(ctx, opened, video, at_s=preview_s)
    moving = _picture(
        opened,
        video,
        treatment,
        box=PREVIEW_BOX,
        frame_rate=str(rate),
        at_s=preview_s,
        from_s=reading.from_s,
        frames=title_frames(min(PREVIEW_S, duration_s), rate),
    )
    options = plain_x264_options(preset="veryfast", crf=30) | {"movflags": "+faststart"}
    reading.write([(moving, made["preview.mp4"], options)], "the preview", part(ctx, tiled, moved))
    _run(ctx, [(_gif(made["preview.mp4"], video), made["preview.gif"], {})])

    for name, path in made.items():
        if not path.is_file() or not path.stat().st_size:
            raise EncoderCrashed(f"ffmpeg ended well but wrote no {name}", command="", stderr_tail="")
        ctx.store.put_file(ctx.key(f"images/{name}"), path)
    keys = {field: ctx.key(f"images/{name}") for name, field in FILES.items()}
    sheets = tuple(ctx.key(f"images/{name}") for name in sprites.sheets)
    return ImagesResult(**keys, sprites=sheets, poster_time_s=round(poster_s, 3))


FILES = {
    "poster.jpg": "poster",
    "thumbnail.jpg": "thumbnail",
    WEBVTT: "sprite_vtt",
    "preview.mp4": "preview_mp4",
    "preview.gif": "preview_gif",
}
"""File name in the set and field of the result."""


def poster_time(analysis: Analysis, duration_s: float) -> float:
    """The most representative frame that the analysis knows of, else one a third in."""
    return min(analysis.brightest_s if analysis.brightest_s is not None else duration_s / 3, duration_s)


def fitted(width: int, height: int, box: tuple[int, int]) -> tuple[int, int]:
    """The largest even size of this shape inside ``box``, turned for portrait pictures; never upscaled."""
    long, short = box
    box_width, box_height = (long, short) if width >= height else (short, long)
    scale = min(Fraction(1), Fraction(box_width, width), Fraction(box_height, height))
    return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)


class _Reading:
    """From where a moment of the title is reached, which may be hours later in the source."""

    def __init__(self, ctx: StageContext, opened: OpenedMezzanine, video: VideoStream, *, at_s: float) -> None:
        self.ctx, self.video, self.at_s = ctx, video, at_s
        program = ffmpeg(ctx.settings)
        self.from_s = reach(program, opened, index=video.index, at_s=at_s, timeout_s=ctx.time_left_s)

    def write(self, outputs: list[Output], what: str, tell: Tell) -> None:
        """Write what shows that moment, and tell how far the reading is."""
        begun, end = self.from_s, self.at_s
        told = counting(tell, lambda done_s: f"{what}: {begun + done_s:.0f} of {end:.0f} s read", whole=end - begun)
        # A picture at least is to be told: a stream may begin after the moment.
        listened_s = max(end, self.video.start_time_s) + float(1 / self.video.fps)
        follow_reading(
            _command(self.ctx, outputs),
            lambda at_s: told(at_s - begun),
            index=self.video.index,
            to_s=listened_s,
            timeout_s=self.ctx.time_left_s,
            folder=self.ctx.scratch,
        )


def _still(
    ctx: StageContext,
    opened: OpenedMezzanine,
    video: VideoStream,
    treatment: SourceTreatment,
    poster: Path,
    thumbnail: Path,
    tell: Tell,
    *,
    at_s: float,
) -> float:
    """Poster and thumbnail of the frame at ``at_s``. Where the video ends before, they show its first frame.

    Returns the time of the frame that they show.
    """
    for moment in dict.fromkeys((at_s, 0.0)):
        reading = _Reading(ctx, opened, video, at_s=moment)
        picture = _picture(
            opened,
            video,
            treatment,
            box=POSTER_BOX,
            frame_rate=video.frame_rate,
            at_s=moment,
            from_s=reading.from_s,
            frames=1,
        ).split()
        width, height = fitted(video.display_width, video.display_height, THUMBNAIL)
        small = _letterboxed(picture[1].filter("scale", *_inside(width, height, THUMBNAIL)), THUMBNAIL)
        one = {"frames:v": 1, "q:v": 3}
        try:
            reading.write([(as_jpeg(picture[0]), poster, one), (as_jpeg(small), thumbnail, one)], "the poster", tell)
        except ToolFailed:
            if moment == 0.0:
                raise
        if poster.is_file() and poster.stat().st_size:
            return moment
    return 0.0


def _picture(
    opened: OpenedMezzanine,
    video: VideoStream,
    treatment: SourceTreatment,
    *,
    box: tuple[int, int],
    frame_rate: str,
    at_s: float = 0.0,
    from_s: float = 0.0,
    frames: int | None = None,
    keyframes: bool = False,
) -> Node:
    """The source from ``at_s`` on, at ``frame_rate``, fitted into ``box``; black bars fill what a tile leaves free."""
    import ffmpeg as graph

    options = {**decoder_options(video), **opened.options(from_s=from_s)}
    if keyframes:
        options["skip_frame"] = "nokey"
    decoded = graph.input(opened.target, **options)[str(video.index)]
    node = source_filters(decoded, video, treatment, frame_rate=frame_rate, start_s=at_s)
    if frames is not None:
        node = node.filter("tpad", stop=frames, stop_mode="clone").filter("trim", end_frame=frames)
    if at_s > 0:
        node = node.filter("setpts", "PTS-STARTPTS")
    if box == TILE:
        width, height = _inside(video.display_width, video.display_height, TILE)
        return _letterboxed(scaled(node, video, treatment, width=width, height=height), TILE)
    width, height = fitted(video.display_width, video.display_height, box)
    return scaled(node, video, treatment, width=width, height=height)


def _inside(width: int, height: int, box: tuple[int, int]) -> tuple[int, int]:
    """The largest size of this shape within ``box``."""
    scale = min(Fraction(box[0], width), Fraction(box[1], height))
    return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)


def _letterboxed(node: Node, box: tuple[int, int]) -> Node:
    return node.filter("pad", box[0], box[1], "(ow-iw)/2", "(oh-ih)/2")


def _sprite_sheets(
    ctx: StageContext,
    opened: OpenedMezzanine,
    source: Inspection,
    treatment: SourceTreatment,
    sprites: Sprites,
    tell: Tell,
) -> None:
    """Write the sheets into scratch."""
    if source.duration_s > LONG_S:
        # Keyframes alone have no neighbours whose fields match theirs.
        apart = {"inverse_telecine": False, "deinterlace": treatment.deinterlace or treatment.inverse_telecine}
        alone = treatment.model_copy(update=apart)
        if _tiled(ctx, opened, source, alone, sprites, tell, keyframes=True) <= KEYFRAMES_APART_S:
            return
    _tiled(ctx, opened, source, treatment, sprites, tell, keyframes=False)


def _tiled(
    ctx: StageContext,
    opened: OpenedMezzanine,
    source: Inspection,
    treatment: SourceTreatment,
    sprites: Sprites,
    tell: Tell,
    *,
    keyframes: bool,
) -> float:
    """Write the sheets into scratch; returns the longest time between two pictures that were decoded, in seconds."""
    import ffmpeg as graph

    video, rate, count = source.video, str(1 / sprites.interval_s), sprites.count
    picture = _picture(opened, video, treatment, box=TILE, frame_rate=rate, keyframes=keyframes)
    # The last tile is repeated where the rate gives one picture fewer than counted: no sheet has a hole.
    picture = picture.filter("tpad", stop=count, stop_mode="clone").filter("trim", end_frame=count)
    sheets = as_jpeg(picture.filter("tile", f"{sprites.columns}x{sprites.rows}"))
    written = graph.output(sheets, PATTERN, map_metadata=-1, **{"frames:v": len(sprites.sheets), "q:v": 4})
    argv = written.compile(cmd=prelude(ffmpeg(ctx.settings), level="warning", overwrite=True))
    before_s = longest_s = 0.0
    duration_s = source.duration_s
    told = counting(tell, lambda at_s: f"sprite sheets: {at_s:.0f} of {duration_s:.0f} s", whole=duration_s)

    def decoded(at_s: float) -> None:
        nonlocal before_s, longest_s
        before_s, longest_s = at_s, max(longest_s, at_s - before_s)
        told(at_s)

    # A sheet is written once it is full. That each picture is told as it is decoded shows how far the reading is.
    follow_reading(argv, decoded, index=video.index, timeout_s=ctx.time_left_s, cwd=ctx.scratch)
    return max(longest_s, video.end_s - before_s)


def _gif(preview: Path, video: VideoStream) -> Node:
    import ffmpeg as graph

    width, height = fitted(video.display_width, video.display_height, GIF_BOX)
    small = graph.input(f"file:{preview}").video.filter("fps", GIF_FPS, start_time=0, round="up")
    parts = small.filter("scale", width, height, flags="bicubic").split()
    return graph.filter([parts[0], parts[1].filter("palettegen", max_colors=128)], "paletteuse", dither="bayer")


def _run(ctx: StageContext, outputs: list[Output]) -> None:
    run(_command(ctx, outputs), timeout_s=ctx.time_left_s, folder=ctx.scratch)


def _command(ctx: StageContext, outputs: list[Output]) -> list[str]:
    import ffmpeg as graph

    nodes = [graph.output(node, str(path), map_metadata=-1, **options) for node, path, options in outputs]
    program = prelude(ffmpeg(ctx.settings), level="warning", overwrite=True)
    compiled: list[str] = graph.merge_outputs(*nodes).compile(cmd=program)
    return compiled

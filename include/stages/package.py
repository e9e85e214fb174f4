"""Package: what passed the checks becomes one CMAF set with HLS and DASH manifests, pictures, a page and a report."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from include.adapters.cmaf import UnreadableTrack, read_track
from include.adapters.ffmpeg.commands import EncoderProgress, prelude
from include.adapters.ffmpeg.following import follow
from include.adapters.manifests import dash, hls
from include.adapters.manifests.chapters import write_chapters
from include.adapters.manifests.contents import (
    CHAPTERS_TEXT,
    DASH,
    MASTER,
    AudioEntry,
    Contents,
    TextEntry,
    VideoEntry,
    target_duration,
)
from include.adapters.manifests.faults import faults
from include.adapters.packager import AudioInput, VideoInput, make_set
from include.adapters.process import Finished, failed
from include.adapters.tools import ffmpeg, ffmpeg_version, packager_version
from include.base.errors import PackagerFailed
from include.domain.media.captions import Cue
from include.domain.media.cue_reading import read_webvtt
from include.domain.media.frame_rate import parse_rate
from include.domain.media.labels import unique
from include.domain.media.languages import UNDETERMINED
from include.domain.media.media import Analysis, Inspection
from include.domain.outcome.report import Report, build_report
from include.domain.outcome.results import (
    AudioRendition,
    AudioResult,
    CheckResult,
    EncodeResult,
    ImagesResult,
    PackagedRendition,
    PackageResult,
    SourceVerdict,
    TextRendition,
    TextResult,
)
from include.domain.outcome.rules import SAMPLE_TOLERANCE
from include.domain.plan.plan import Plan
from include.domain.recipe.codecs import AUDIO_RATE_HZ, CODECS
from include.domain.recipe.rungs import Rendition
from include.domain.title.title import TitleJob
from include.stages.core import StageContext, stage
from include.stages.preview import PAGE, write_preview
from include.stages.progress import Tell, counting, fetched, moving, part, watched

REPORT = "report.json"
FETCHED, PACKAGED, MEASURED, SERVED = 0.1, 0.5, 0.6, 0.7
"""Shares of the stage's progress: what is packaged is here, the packager has ended, its set is measured, and files for
downloading are made. What follows is the storing."""
ABOVE_TRACKS = 2
ROOM_BYTES = 16 * 1024**2
"""A container's tables are small beside its tracks: no file that holds them is so many times their size, and this."""
SET = "package"
"""Folder of the complete set in the work folder; those of earlier editions have the edition's name in front."""


@stage
def package(
    ctx: StageContext,
    title: TitleJob,
    source: Inspection,
    analysis: Analysis,
    plan: Plan,
    renditions: tuple[EncodeResult, ...],
    audio: AudioResult,
    text: TextResult,
    pictures: ImagesResult,
    verified: SourceVerdict,
    verdicts: CheckResult,
    *,
    progressive: bool,
) -> PackageResult:
    """Make the complete set, measure it, and refuse it where a manifest says anything that the files do not."""
    folder = ctx.scratch / "set"
    folder.mkdir()
    results = {result.rendition: result for result in renditions}
    passed = [planned for planned in plan.renditions if planned.name in verdicts.passed]
    paths = _renditions(ctx, passed, results)
    tracks = _tracks(audio, verdicts)
    shown = [each for each in text.renditions if each.name not in verdicts.withheld_texts]
    sounds = {track.name: ctx.store.local_copy(track.uri, ctx.scratch) for track in tracks}

    videos = [_video_input(planned, paths[planned.name]) for planned in passed]
    audios = [AudioInput(name=track.name, path=sounds[track.name], group=_group(track)) for track in tracks]
    frame_s = 1 / parse_rate(plan.frame_rate)
    segment_s, gop_s = plan.segment_frames * frame_s, passed[0].gop_frames * frame_s
    with watched(_packaging(ctx, folder, len(videos) + len(audios), verified.duration_s / float(segment_s))):
        finished = make_set(
            ctx.settings, folder, videos, audios, segment_s=segment_s, gop_s=gop_s, timeout_s=ctx.time_left_s
        )
    contents = _contents(ctx, source, folder, finished, passed, tracks, shown)
    _write_manifests(folder, contents, verdicts, finished)
    _copy_images(ctx, pictures, folder)
    length_s = verified.duration_s
    files = _progressive(ctx, folder, passed, paths, tracks, sounds, duration_s=length_s) if progressive else ()
    rungs = tuple(_packaged(contents, entry, verdicts) for entry in contents.videos)
    report = build_report(
        title,
        source,
        analysis,
        plan,
        renditions,
        audio,
        text,
        verified,
        verdicts,
        rungs,
        whole=ctx.edition is None,
        tools={"ffmpeg": ffmpeg_version(ctx.settings), "shaka_packager": packager_version(ctx.settings)},
        files=_entry_points(contents, pictures, files),
    )
    (folder / REPORT).write_text(report.to_json(), encoding="utf-8")
    write_preview(folder, report)
    return _stored(ctx, folder, contents, report, rungs, files)


def _renditions(ctx: StageContext, passed: list[Rendition], results: dict[str, EncodeResult]) -> dict[str, Path]:
    """Each rendition as the packager takes it, by its name; fetched where the store is no folder of this machine."""
    paths: dict[str, Path] = {}
    for number, planned in enumerate(passed):
        first, last = FETCHED * number / len(passed), FETCHED * (number + 1) / len(passed)
        middle, result = (first + last) / 2, results[planned.name]
        ctx.report(first, f"fetching {planned.name}")
        path = fetched(ctx, result.uri, result.size_bytes, planned.name, part(ctx, first, middle))
        paths[planned.name] = _packageable(ctx, planned, path, result.duration_s, part(ctx, middle, last))
    return paths


def _packaging(ctx: StageContext, folder: Path, tracks: int, segments: float) -> Callable[[], None]:
    """Reports how many segments the packager has written, which tells nothing itself.

    Args:
        ctx: The stage's context.
        folder: Of the set.
        tracks: How many it makes.
        segments: Of each.
    """
    tell, whole = part(ctx, FETCHED, PACKAGED), max(1, round(tracks * segments))
    tell(0.0, "packaging")

    def look() -> None:
        there = sum(1 for track in folder.glob("*/*") if track.is_dir() for _ in track.iterdir())
        tell(there / whole, f"packaging: {there} of about {whole} segments")

    return look


def _tracks(audio: AudioResult, verdicts: CheckResult) -> list[AudioRendition]:
    """The audio tracks that passed the checks, the default one first."""
    passed = [each for each in audio.renditions if each.name not in verdicts.withheld]
    return sorted(passed, key=lambda track: not track.default)


def _write_manifests(folder: Path, contents: Contents, verdicts: CheckResult, finished: Finished) -> None:
    """Make the manifests say what was measured; raises :class:`PackagerFailed` where one still does not."""
    language = contents.audios[0].language if contents.audios else UNDETERMINED
    write_chapters(folder, contents.chapters, language=language)
    hls.correct_media_playlists(folder, contents)
    hls.write_master(folder, contents)
    dash.correct_dash(folder, contents)
    wrong = [*faults(folder, contents), *_count_faults(contents, verdicts)]
    if wrong:
        raise failed(finished, PackagerFailed, f"the packaged set is not sound: {'; '.join(wrong[:5])}")


def _count_faults(contents: Contents, verdicts: CheckResult) -> Iterator[str]:
    """Tracks whose boxes declare another number of pictures or samples than were decoded by the checks."""
    frames = {verdict.rendition: verdict.frames for verdict in verdicts.renditions}
    for video in contents.videos:
        declared = sum(segment.samples for segment in video.track.segments)
        if declared != frames[video.track.name]:
            yield f"{video.track.folder}: declares {declared} frames, {frames[video.track.name]} were decoded"
    samples = {verdict.track: verdict.samples for verdict in verdicts.tracks}
    for audio in contents.audios:
        due = samples[audio.track.name] + audio.track.skipped * AUDIO_RATE_HZ
        if abs(audio.track.duration * AUDIO_RATE_HZ - due) > SAMPLE_TOLERANCE:
            seconds = float(audio.track.duration)
            yield f"{audio.track.folder}: declares {seconds:.3f} s, {samples[audio.track.name]} samples were decoded"


def _entry_points(contents: Contents, pictures: ImagesResult, progressive: tuple[str, ...]) -> dict[str, Any]:
    """Where the report's reader finds what there is to play and to show."""
    chapters = {"chapters": CHAPTERS_TEXT} if contents.chapters else {}
    sprites = {"sprite_vtt": _image(pictures.sprite_vtt), "sprites": [_image(key) for key in pictures.sprites]}
    return {"hls": MASTER, "dash": DASH, "progressive": list(progressive), **sprites, **chapters}


def _image(key: str) -> str:
    """Path in the set of a picture that has this key."""
    return f"images/{key.rpartition('/')[2]}"


def _packageable(ctx: StageContext, planned: Rendition, path: Path, duration_s: float, tell: Tell) -> Path:
    """The rendition as an MP4; WebM counts in milliseconds, so its timestamps are made exact again."""
    if CODECS[planned.codec].container == "mp4":
        return path
    fps = parse_rate(planned.frame_rate)
    output = ctx.scratch / f"{planned.name}.mp4"
    ticks = f"1/{fps.numerator}"
    exact = f"setts=time_base={ticks}:ts=N*{fps.denominator}:duration={fps.denominator}"
    argv = prelude(ffmpeg(ctx.settings), level="error", overwrite=True, progress=True)
    argv += ["-i", f"file:{path}", "-map", "0:v:0", "-c", "copy", "-bsf:v", exact, "-time_base", ticks]
    argv += ["-video_track_timescale", str(fps.numerator), "-map_metadata", "-1", "-f", "mp4", str(output)]
    limits = {"timeout_s": ctx.time_left_s, "file_bytes": _most_copied(path)}
    follow(argv, _written_to(output.name, duration_s, tell), failure=PackagerFailed, folder=ctx.scratch, **limits)
    return output


def _most_copied(*tracks: Path) -> int:
    """Bytes that no file comes to which holds these tracks as they are."""
    return ABOVE_TRACKS * sum(path.stat().st_size for path in tracks) + ROOM_BYTES


def _video_input(planned: Rendition, path: Path) -> VideoInput:
    codec = CODECS[planned.codec]
    return VideoInput(name=planned.name, path=path, hls=codec.hls, dash=codec.dash)


def _group(track: AudioRendition) -> str:
    return "stereo" if track.channels <= 2 else "surround"


def _contents(
    ctx: StageContext,
    source: Inspection,
    folder: Path,
    finished: Finished,
    passed: list[Rendition],
    tracks: list[AudioRendition],
    text: list[TextRendition],
) -> Contents:
    """Measure every track of the set and write the subtitles beside them."""
    try:
        wanted = [*(("video", planned.name) for planned in passed), *(("audio", track.name) for track in tracks)]
        measured = []
        for number, (kind, name) in enumerate(wanted):
            part(ctx, PACKAGED, MEASURED)(number / len(wanted), f"measuring {name}")
            measured.append(read_track(folder, kind, name))
    except UnreadableTrack as error:
        raise failed(finished, PackagerFailed, f"the packager wrote a track that cannot be read: {error}") from error
    videos, audios = measured[: len(passed)], measured[len(passed) :]
    target_s = target_duration(measured)
    taken: set[str] = set()
    # All layouts of a sound have its one label: players tell them apart by their channels.
    labels = {sound: unique(label, taken) for sound, label in {track.sound: track.label for track in tracks}.items()}
    sounds = tuple(
        AudioEntry(
            track=measured,
            language=track.language,
            label=labels[track.sound],
            group=_group(track),
            default=track.default,
            role=track.role,
            sound=track.sound,
        )
        for track, measured in zip(tracks, audios, strict=True)
    )
    texts = _texts(ctx, folder, text, [segment.duration for segment in videos[0].segments], target_s=target_s)
    return Contents(
        videos=tuple(
            VideoEntry(track=measured, hls=CODECS[planned.codec].hls)
            for planned, measured in zip(passed, videos, strict=True)
        ),
        audios=sounds,
        texts=texts,
        target_s=target_s,
        chapters=source.chapters,
        name=ctx.title.name or source.title,
    )


def _texts(
    ctx: StageContext, folder: Path, text: list[TextRendition], durations: list[Fraction], *, target_s: int
) -> tuple[TextEntry, ...]:
    """Write the subtitles beside the tracks."""
    taken: set[str] = set()
    texts = []
    for rendition in text:
        cues = _cues(ctx, rendition.uri)
        peak, size = hls.write_text(folder, rendition.name, cues, durations, target_s=target_s)
        texts.append(
            TextEntry(
                name=rendition.name,
                language=rendition.language,
                label=unique(rendition.label, taken),
                forced=rendition.forced,
                hearing_impaired=rendition.hearing_impaired,
                default=rendition.default,
                peak_bps=peak,
                size_bytes=size,
            )
        )
    return tuple(texts)


def _cues(ctx: StageContext, key: str) -> list[Cue]:
    return read_webvtt(ctx.store.get_bytes(key).decode("utf-8")).cues


def _copy_images(ctx: StageContext, pictures: ImagesResult, folder: Path) -> None:
    (folder / "images").mkdir()
    keys = (
        pictures.poster,
        pictures.thumbnail,
        *pictures.sprites,
        pictures.sprite_vtt,
        pictures.preview_mp4,
        pictures.preview_gif,
    )
    for key in keys:
        shutil.copyfile(ctx.store.local_copy(key, ctx.scratch), folder / _image(key))


def _progressive(
    ctx: StageContext,
    folder: Path,
    passed: list[Rendition],
    paths: dict[str, Path],
    tracks: list[AudioRendition],
    sounds: dict[str, Path],
    *,
    duration_s: float,
) -> tuple[str, ...]:
    """An MP4 that plays while it loads, with the default stereo track: one for each rung whose codec is served so."""
    (folder / "progressive").mkdir()
    default = [sounds[track.name] for track in tracks if track.channels <= 2][:1]
    names = []
    for number, planned in enumerate(passed):
        if not CODECS[planned.codec].progressive:
            continue
        name = f"progressive/{planned.name}.mp4"
        audio = [part for path in default for part in ("-i", f"file:{path}")] + ["-map", "0:v:0"]
        audio += ["-map", "1:a:0"] if default else []
        argv = prelude(ffmpeg(ctx.settings), level="error", overwrite=True, progress=True)
        argv += ["-i", f"file:{paths[planned.name]}", *audio, "-c", "copy", "-map_metadata", "-1"]
        argv += ["-movflags", "+faststart", "-f", "mp4", str(folder / name)]
        first, last = (MEASURED + (SERVED - MEASURED) * each / len(passed) for each in (number, number + 1))
        told = _written_to(name, duration_s, part(ctx, first, last))
        limits = {"timeout_s": ctx.time_left_s, "file_bytes": _most_copied(paths[planned.name], *default)}
        follow(argv, told, failure=PackagerFailed, folder=folder, **limits)
        names.append(name)
    return tuple(names)


def _written_to(name: str, duration_s: float, tell: Tell) -> Callable[[EncoderProgress], None]:
    told = counting(tell, lambda done_s: f"writing {name}: {done_s:.0f} of {duration_s:.0f} s", whole=duration_s)
    return lambda state: told(state.out_time_s or 0.0)


def _packaged(contents: Contents, entry: VideoEntry, verdicts: CheckResult) -> PackagedRendition:
    track = entry.track
    score = next(verdict.vmaf for verdict in verdicts.renditions if verdict.rendition == track.name)
    return PackagedRendition(
        rendition=track.name,
        codec=track.codec,
        width=track.width,
        height=track.height,
        bandwidth=track.peak_bps(contents.target_s),
        average_bandwidth=track.average_bps,
        size_bytes=track.size_bytes,
        vmaf=score.harmonic_mean if score else None,
    )


def _stored(
    ctx: StageContext,
    folder: Path,
    contents: Contents,
    report: Report,
    rungs: tuple[PackagedRendition, ...],
    progressive: tuple[str, ...],
) -> PackageResult:
    """Store every file of the set; what an earlier attempt has left there is deleted first."""
    prefix = ctx.key(f"{ctx.edition}_{SET}" if ctx.edition else SET)
    ctx.store.delete_tree(prefix)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    wanted = {f"{prefix}/{name}": path for path, name in zip(paths, files, strict=True)}
    ctx.store.put_files(wanted, moving(part(ctx, SERVED, 1.0), "storing the set", sum(files.values())))
    return PackageResult(
        prefix=prefix,
        files=files,
        hls=MASTER,
        dash=DASH,
        progressive=progressive,
        preview=PAGE,
        report=REPORT,
        duration_s=round(float(contents.videos[0].track.duration), 6),
        rungs=rungs,
        degraded=report.degraded,
        whole=ctx.edition is None,
        place=ctx.editions.index(ctx.edition) if ctx.edition else 0,
        missing=report.missing,
        given_up=report.given_up,
        packager_version=report.tools["shaka_packager"],
    )

"""Video on demand: one mezzanine to one published HLS + DASH set. Read it from top to bottom: it is a title's life."""

from __future__ import annotations

from include.pipelines.core import pipeline, task
from include.stages.analyse import analyse
from include.stages.audio import audio
from include.stages.check import check
from include.stages.core import Handle
from include.stages.encode import encode
from include.stages.images import images
from include.stages.inspect import inspect
from include.stages.package import package
from include.stages.plan import plan
from include.stages.prove import prove
from include.stages.publish import publish
from include.stages.settle import settle
from include.stages.subtitles import subtitles
from include.stages.verify_source import verify_source


def describe(title: Handle, *, codecs: tuple[str, ...], progressive: bool) -> None:
    """The tasks of a title; the pipelines below differ in codecs and files only."""
    with task("prepare", weight=1, share=1.0):
        source = inspect(title)
        analysis = analyse(title, source)
    with task("plan", weight=9, share=0.5):
        encode_plan = plan(title, source, analysis, codecs=codecs)
    with task("encode", each_job_of=encode_plan, weight=2, share=8.0) as job:
        renditions = encode(title, source, encode_plan, job)
    with task("extras", weight=3, share=2.5):
        audio_tracks = audio(title, source)
        subtitle_tracks = subtitles(title, source)
        pictures = images(title, source, analysis)
        verified = verify_source(title, source)
    contents = (title, source, analysis, encode_plan, renditions, audio_tracks, subtitle_tracks, pictures, verified)
    # Only where the plan lists this edition: its core rungs go out while the others are encoded.
    with task("first_finish", edition="first", weight=6, share=2.5):
        first_verdicts = check(
            title, source, analysis, encode_plan, renditions, audio_tracks, subtitle_tracks, verified
        )
        first_packaged = package(*contents, first_verdicts, progressive=progressive)
    with task("first_publish", edition="first", weight=9, share=0.5, publishes=True):
        publish(title, first_packaged)
    # A rendition that failed for good does not sink the title: the checks decide, not Airflow.
    with task("finish", weight=6, share=2.5):
        verdicts = check(
            title, source, analysis, encode_plan, renditions, audio_tracks, subtitle_tracks, verified, first_verdicts
        )
        packaged = package(*contents, verdicts, progressive=progressive)
    with task("publish", weight=9, share=0.5, publishes=True):
        published = publish(title, packaged)
    # Extras may still run when the title has failed elsewhere; it is not settled before they have ended.
    with task("settle", after=("extras", "first_publish"), trigger_rule="all_done", weight=9, share=0.0):
        settle(
            title,
            source,
            analysis,
            encode_plan,
            renditions,
            verdicts,
            packaged,
            published,
        )
    # Only where the tier asks for it, in runs of the DAG `proofs`, which take slots that no encode wants.
    with task("prove", apart=True, weight=0, share=0.0):
        prove(title, source, encode_plan, renditions, verified, verdicts)


@pipeline(version=3)
def vod(title: Handle) -> None:
    """H.264 ladder cut to the source, as HLS and DASH."""
    describe(title, codecs=("h264",), progressive=False)


@pipeline(version=3, name="vod-download")
def vod_download(title: Handle) -> None:
    """As vod, with VP9 WebM renditions beside H.264 and progressive MP4 files of every rung."""
    describe(title, codecs=("h264", "vp9"), progressive=True)

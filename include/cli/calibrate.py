"""``callsheet calibrate``: short sample encodes by the product's own stages, from which forecasts learn this machine.

The samples are cut from clips of the user's own, or are pictures of different complexity that ffmpeg makes. What was
measured is kept in the store; valuation and planning go by it until the farm's own encodes say more
(:func:`include.services.valuation.farm_factors`).

Where neither catalog nor store can be written, as in a worker's pod, ``python -m include.cli.calibrate``
measures and prints the result, and ``callsheet calibrate --from FILE`` keeps it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from include.adapters import tools
from include.adapters.ffmpeg.commands import prelude
from include.adapters.ffmpeg.encoders.x264 import plain_x264_options
from include.adapters.ffmpeg.ffprobe import number, picture_streams, probe
from include.adapters.ffmpeg.opening import input_argv
from include.adapters.process import Limits, limit_tools, run
from include.adapters.store.local import LocalStore
from include.adapters.store.opening import open_store
from include.base.errors import CallsheetError, ConfigurationError
from include.base.faults import faults
from include.base.settings import Settings, load_settings
from include.domain.cost.calibration import CALIBRATION, TELLING_S, Calibration, SampleEncode
from include.domain.cost.features import source_features
from include.domain.cost.prior import PriorPredictor
from include.domain.cost.rates import CostRates, Pair, encoder_s
from include.domain.media.frame_rate import parse_rate
from include.domain.media.media import Analysis, Inspection
from include.domain.outcome.results import EncodeResult
from include.domain.plan.decide import decide
from include.domain.plan.plan import EncodeJob, Plan
from include.domain.plan.presets import quickest
from include.domain.recipe.codecs import CODECS
from include.domain.title.title import Tier, TitleJob
from include.recipes import load_cost_rates, load_ladders, load_presets, load_tiers
from include.stages.core import StageContext
from include.stages.encode import encode
from include.stages.inspect import inspect

Say = Callable[[str], None]

LIMIT_S = 115.0
"""All of it: what is still running then is stopped and does not count."""
BEGIN_BEFORE_S = 95.0
"""No sample begins later."""
MOST_CLIPS = 12
SAMPLE_S = 3.0
"""Of a 720p source; smaller ones are measured for longer."""
LONGEST_SAMPLE_S = 20.0
MOST_PIXELS = 1280 * 720
"""Of a rendition. Larger ones cost about as much per pixel, and take the time of many samples."""
LONGEST_S = 6.0
"""Predicted CPU seconds of one sample: a longer one would tell no more."""
PICTURES = {
    "graphics": "testsrc2=size=1280x720:rate=25",
    "detail": "mandelbrot=size=1280x720:rate=25:start_scale=0.5:end_scale=0.02:end_pts=200",
    "grain": "mandelbrot=size=1280x720:rate=25:start_scale=0.5:end_scale=0.02:end_pts=200,noise=alls=10:allf=t",
}
"""Sources for lavfi. The second costs what real clips cost at the median, the others about half and twice as much."""


@dataclass(frozen=True, kw_only=True)
class _Clip:
    """A few seconds of picture, inspected."""

    content: str
    context: StageContext
    source: Inspection


@dataclass(frozen=True, kw_only=True)
class _Order:
    """One sample encode that is to be made."""

    clip: _Clip
    plan: Plan
    job: EncodeJob
    predicted_s: float

    @property
    def pair(self) -> Pair:
        return self.job.rendition.encoder, self.job.rendition.preset


def wanted_pairs() -> tuple[Pair, ...]:
    """Encoders and presets that the tiers use, those that they may fall back to included."""
    tiers, prior, presets = load_tiers().values(), PriorPredictor(rates=load_cost_rates()), load_presets()
    pairs = (
        (CODECS[codec].software.name, preset)
        for codec, ladder in load_ladders().items()
        for policy in tiers
        for preset in (
            policy.presets.get(codec, ladder.preset),
            quickest(policy, presets=presets, predictor=prior).presets.get(codec, ladder.preset),
        )
    )
    return tuple(sorted(set(pairs)))


def measure(settings: Settings, files: Sequence[Path], *, say: Say, now: datetime) -> Calibration:
    """Make the sample encodes, as many at once as the farm's slots on this machine; at most :data:`LIMIT_S` seconds.

    Args:
        settings: Slots and tools.
        files: Clips of the user's own; none takes :data:`PICTURES`.
        say: Gets a line about each sample.
        now: The time.

    Raises:
        MezzanineRejected: A clip is none that the product would encode.
        ConfigurationError: Nothing could be measured.
    """
    if len(files) > MOST_CLIPS:
        raise ConfigurationError(f"{len(files)} clips: at most {MOST_CLIPS} fit into the time; give the most different")
    began = time.monotonic()
    rates = load_cost_rates()
    with tempfile.TemporaryDirectory(prefix="callsheet-calibrate-") as folder:
        clips = [
            _inspected(settings, Path(folder), number, content, cut, deadline=began + LIMIT_S)
            for number, (content, cut) in enumerate(_cuts(settings, files, Path(folder), say))
        ]
        orders = _orders(clips, rates)
        if not orders:
            raise ConfigurationError("the clips are too short or too small to tell: give some of 5 s at 720p, or none")
        samples = _made(orders, settings, Path(folder), rates, say, began=began)
    if not samples:
        raise ConfigurationError(f"no sample encode ended well within {LIMIT_S:.0f} s: see the lines above")
    return Calibration(measured_at=now, encoder_version=tools.ffmpeg_version(settings), samples=tuple(samples))


def keep(settings: Settings, calibration: Calibration) -> str:
    """Put it where this deployment's valuation looks, in the place of an earlier one; returns the address."""
    store = open_store(settings)
    store.put_bytes(CALIBRATION, calibration.to_json().encode())
    return f"{store.uri}/{CALIBRATION}"


def read(text: str, *, where: str) -> Calibration:
    """A calibration that another machine has printed; raises :class:`ConfigurationError` naming ``where``."""
    try:
        return Calibration.from_json(text)
    except ValidationError as error:
        raise ConfigurationError(f"{where}: no calibration: {faults(error)[0].told}") from error


def _cuts(settings: Settings, files: Sequence[Path], folder: Path, say: Say) -> Iterator[tuple[str, Path]]:
    """Names of the contents, and clips of a few seconds."""
    sources: list[tuple[str, list[str], float]] = [(file.name, *_middle_of(settings, file)) for file in files] or [
        (name, ["-f", "lavfi", "-i", source], SAMPLE_S) for name, source in PICTURES.items()
    ]
    for place, (content, given, seconds) in enumerate(sources):
        say(f"clip {place + 1} of {len(sources)}: {content}")
        target = folder / f"{place}.mp4"
        # Nearly lossless, so that the noise of the source is what the sample encodes meet.
        argv = [*prelude(tools.ffmpeg(settings), level="error", overwrite=True), *given]
        options = plain_x264_options(preset="ultrafast", crf=10)
        argv += ["-t", f"{seconds:.3f}", *(part for name, value in options.items() for part in (f"-{name}", value))]
        run([*argv, "-pix_fmt", "yuv420p", str(target)], timeout_s=LIMIT_S / 2, folder=folder)
        yield content, target


def _middle_of(settings: Settings, file: Path) -> tuple[list[str], float]:
    """Input and stream for ffmpeg that begin in the middle of a clip, and how many seconds to take of it."""
    found = probe(tools.ffprobe(settings), str(file.absolute()), timeout_s=LIMIT_S / 4)
    streams = picture_streams(found) if found.readable else []
    if not streams:
        raise ConfigurationError(f"{file}: holds no video that ffprobe can read")
    pixels = max(1, int(streams[0].get("width", 0)) * int(streams[0].get("height", 0)))
    wanted = min(LONGEST_SAMPLE_S, SAMPLE_S * max(1.0, MOST_PIXELS / pixels))
    spare = max(0.0, (number(found.container.get("duration")) or 0.0) - wanted)
    index = str(streams[0]["index"])
    return ["-ss", f"{spare / 2:.3f}", *input_argv(str(file.absolute())), "-map", f"0:{index}"], wanted


def _inspected(settings: Settings, folder: Path, place: int, content: str, cut: Path, *, deadline: float) -> _Clip:
    own = settings.model_copy(update={"mezzanine_roots": (folder,)})
    title = TitleJob(
        request_id=f"calibrate/{place}",
        batch_id="calibrate",
        title_id=str(place),
        run_key="calibrate.1",
        pipeline="vod",
        pipeline_version=1,
        mezzanine=cut.as_uri(),
        tier=Tier.STANDARD,
    )
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    context = StageContext(
        settings=own, store=LocalStore(folder / "store"), title=title, scratch=scratch, deadline=deadline
    )
    source = inspect.function(context, title)
    assert isinstance(source, Inspection)
    return _Clip(content=content, context=context, source=source)


def _orders(clips: Sequence[_Clip], rates: CostRates) -> list[_Order]:
    """Every pair on every clip in up to two sizes; each pair's first samples come before any pair's later ones."""
    by_pair: dict[Pair, list[_Order]] = {}
    for clip in clips:
        for codec, ladder in load_ladders().items():
            plan = decide(
                clip.source,
                Analysis(windows=()),
                [ladder],
                load_tiers()[Tier.STANDARD],
                tier=Tier.STANDARD.value,
                ceiling_s=LIMIT_S,
                gpu=False,
                predictor=PriorPredictor(rates=rates),
            )
            for encoder, preset in wanted_pairs():
                if encoder == CODECS[codec].software.name:
                    for each in _of_pair(clip, plan, preset, rates):
                        by_pair.setdefault(each.pair, []).append(each)
    ranked = [
        (rank, each)
        for orders in by_pair.values()
        for rank, each in enumerate(sorted(orders, key=lambda order: order.predicted_s))
    ]
    return [each for _, each in sorted(ranked, key=lambda entry: (entry[0], entry[1].predicted_s))]


def _of_pair(clip: _Clip, plan: Plan, preset: str, rates: CostRates) -> Iterator[_Order]:
    """The largest rendition and one of about a quarter of it, where they take neither too little nor too long."""
    jobs = [each for each in plan.jobs if _pixels(each) <= MOST_PIXELS]
    largest = max(map(_pixels, jobs), default=0)
    near = [each for each in jobs if _pixels(each) >= largest / 5]
    for job in dict.fromkeys([*near[:1], *near[-1:]]):
        rendition = job.rendition.model_copy(update={"preset": preset})
        predicted_s = encoder_s(
            pixels=_pixels(job),
            encoder=rendition.encoder,
            preset=preset,
            source=source_features(clip.source).shape,
            fps=float(parse_rate(rendition.frame_rate)),
            rates=rates,
        )
        if TELLING_S <= predicted_s <= LONGEST_S:
            ordered = job.model_copy(update={"rendition": rendition})
            yield _Order(clip=clip, plan=plan, job=ordered, predicted_s=predicted_s)


def _made(
    orders: Sequence[_Order], settings: Settings, folder: Path, rates: CostRates, say: Say, *, began: float
) -> list[SampleEncode]:
    samples: list[SampleEncode] = []
    late = 0
    # As many at once as encodes on this machine: they share caches and memory then as they do at work.
    pool = ThreadPoolExecutor(max_workers=settings.encode_slots)
    try:
        running = {pool.submit(_sample, each, folder / f"{place}", began): each for place, each in enumerate(orders)}
        for done, future in enumerate(as_completed(running), start=1):
            order = running[future]
            what = f"{done} of {len(orders)}: {' '.join(order.pair)}, {order.clip.content} {_size(order.job)}"
            try:
                sample = future.result()
            except CallsheetError as error:
                say(f"{what}: {error.message}")
                continue
            if sample is None:
                late += 1
                continue
            samples.append(sample)
            say(f"{what}: {sample.cpu_s:.2f} CPU s, {sample.cpu_s / order.predicted_s:.2f} × the prior")
    finally:
        pool.shutdown(cancel_futures=True)
    if late:
        say(f"{late} samples were left out: the time was up")
    return samples


def _sample(order: _Order, scratch: Path, began: float) -> SampleEncode | None:
    """One encode as a worker makes it; None where it is too late to begin."""
    if time.monotonic() - began > BEGIN_BEFORE_S:
        return None
    scratch.mkdir()
    clip, rendition = order.clip, order.job.rendition
    context = replace(clip.context, scratch=scratch)
    done = encode.function(context, clip.context.title, clip.source, order.plan, order.job)
    assert isinstance(done, EncodeResult)
    return SampleEncode(
        content=clip.content,
        encoder=rendition.encoder,
        preset=rendition.preset,
        pixels=_pixels(order.job),
        fps=float(parse_rate(rendition.frame_rate)),
        source=source_features(clip.source).shape,
        cpu_s=done.cost.cpu_s,
    )


def _pixels(job: EncodeJob) -> int:
    return job.rendition.width * job.rendition.height


def _size(job: EncodeJob) -> str:
    return f"{job.rendition.width}×{job.rendition.height}"


def main(argv: list[str] | None = None) -> int:
    """Measure and print, keep nothing; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m include.cli.calibrate", description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="clips of your own")
    arguments = parser.parse_args(argv)
    try:
        settings = load_settings()
        limit_tools(Limits.of(settings))
        found = measure(settings, arguments.files, say=_to_stderr, now=datetime.now(UTC))
    except CallsheetError as error:
        _to_stderr(f"{type(error).__name__}: {error.message}")
        return error.exit_code
    print(found.to_json())
    return 0


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

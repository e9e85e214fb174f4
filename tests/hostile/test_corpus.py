from __future__ import annotations

import re
import shutil
import subprocess
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from include.adapters import process
from include.adapters.process import Limits, limit_tools
from include.adapters.tools import ffmpeg
from include.base.errors import CallsheetError, MezzanineRejected
from include.base.settings import Settings
from include.domain.media.media import Inspection
from include.domain.outcome.results import AudioResult, SourceVerdict, TextResult
from include.stages.analyse import analyse
from include.stages.check import check
from include.stages.encode import encode
from include.stages.inspect import inspect
from include.stages.plan import plan
from include.stages.verify_source import verify_source
from tests.clips import stage_context
from tests.hostile.corpus import corpus

pytestmark = pytest.mark.timeout(1200)  # some 2,000 processes, each forked from all that the session has loaded

LEAST_FILES = 200
LIMIT_S = 60.0
"""For one file's whole life: sound ones take a second."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How one file ended: refused or failed with a typed error, or published, with what was seen of it."""

    name: str
    error: Exception | None = None
    inspection: Inspection | None = None
    verified: SourceVerdict | None = None
    complaints: int = 0
    frames: int = 0
    """What a plain decode finds damaged, and the frames that it shows, counted without Callsheet's code."""

    @property
    def published(self) -> bool:
        return self.error is None


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Ended]]:
    """Every file of the corpus taken through the stages, under small limits."""
    folder = tmp_path_factory.mktemp("corpus")
    before = process._limits
    limit_tools(Limits(memory_mb=1024, file_bytes=50 * 1024**2))
    try:
        files = corpus(folder)
        # One after the other: a fork beside a thread that is measured for coverage can wait for its lock for ever.
        yield [_taken_through(folder / f"f-{name}", name, data) for name, data in files.items()]
    finally:
        process._limits = before


def _taken_through(folder: Path, name: str, data: bytes) -> Ended:
    folder.mkdir()
    mezzanine = folder / name
    mezzanine.write_bytes(data)
    ctx = stage_context(folder, mezzanine, settings={"ffmpeg_timeout_s": LIMIT_S, "encode_slots": 2})
    title = ctx.title
    try:
        source = inspect.function(ctx, title)
        assert isinstance(source, Inspection)
        analysis = analyse.function(ctx, title, source)
        decision = plan.function(ctx, title, source, analysis, codecs=("h264",))
        smallest = decision.model_copy(update={"jobs": decision.jobs[:1]})
        verified = verify_source.function(ctx, title, source)
        assert isinstance(verified, SourceVerdict)
        rendition = encode.function(ctx, title, source, smallest, smallest.jobs[0])
        check.function(ctx, title, source, analysis, smallest, (rendition,), AudioResult(), TextResult(), verified)
    except Exception as error:
        return Ended(name=name, error=error)
    else:
        complaints, frames = _plain_decode(mezzanine, source.video.index)
        return Ended(name=name, inspection=source, verified=verified, complaints=complaints, frames=frames)
    finally:
        shutil.rmtree(folder)


def _plain_decode(path: Path, index: int) -> tuple[int, int]:
    """How many frames of the picture a plain decode lost or found damaged, and how many it shows."""
    argv = [ffmpeg(Settings()), "-nostdin", "-v", "repeat+level+error", "-err_detect", "+crccheck+bitstream+buffer"]
    argv += ["-max_error_rate", "1", "-i", f"file:{path}", "-map", f"0:{index}", "-fps_mode", "passthrough"]
    argv += ["-progress", "pipe:1", "-f", "null", "-"]
    finished = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=LIMIT_S, check=False)
    complaints = sum("rror" in line and "[vist#" in line for line in finished.stderr.splitlines())
    return complaints, int(re.findall(r"^frame=(\d+)$", finished.stdout, flags=re.MULTILINE)[-1])


def test_the_corpus_is_large_and_is_met_by_verdicts_of_every_kind(ended: list[Ended]) -> None:
    verdicts = Counter("published" if each.published else getattr(each.error, "reason", None) for each in ended)

    assert len(ended) >= LEAST_FILES
    for verdict in ("published", "truncated", "undecodable", "invalid_type", "no_video", "too_large"):
        assert verdicts[verdict] > 0, verdicts


def test_every_malformed_file_ends_in_a_typed_verdict_within_its_limits(ended: list[Ended]) -> None:
    untyped = {
        each.name: "".join(traceback.format_exception(each.error))
        for each in ended
        if each.error is not None and not isinstance(each.error, CallsheetError)
    }
    timeouts = {each.name: str(each.error) for each in ended if getattr(each.error, "reason", None) == "timeout"}

    assert untyped == {}
    assert timeouts == {}


def test_what_is_wrong_with_a_file_is_told_as_the_files_fault(ended: list[Ended]) -> None:
    others = {
        each.name: repr(each.error)
        for each in ended
        if each.error is not None and not isinstance(each.error, MezzanineRejected)
    }

    assert others == {}


def test_nothing_that_decodes_with_errors_is_published_silently(ended: list[Ended]) -> None:
    silent = {
        each.name: (each.complaints, each.verified.decode_errors)
        for each in ended
        if each.published and each.verified is not None and each.complaints > 0 and not each.verified.warnings
    }

    assert silent == {}


def test_a_published_file_has_the_frames_that_its_inspection_promised(ended: list[Ended]) -> None:
    fewer = {}
    for each in ended:
        if each.inspection is None or each.verified is None:
            continue
        video = each.inspection.video
        promised = video.duration_s * float(video.fps)
        told = {finding.code for finding in (*each.inspection.warnings, *each.verified.warnings)}
        # One may be lost in rounding; a hole in the middle is told, and filled with the picture before it.
        if each.frames < promised - 1 and not told & {"variable_frame_rate", "decode_errors"}:
            fewer[each.name] = (each.frames, promised)
        assert each.frames > 0.5 * promised, each.name
    assert fewer == {}

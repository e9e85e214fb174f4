"""A title of three editions is published: its versions follow each other, and the pointer only moves forward."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from include.adapters.catalog import Catalog
from include.adapters.catalog.versions import Versions
from include.adapters.store.local import LocalStore
from include.base.settings import Settings
from include.domain.outcome.results import PackageResult
from include.domain.outcome.settlement import RunResults
from include.domain.title.title import State
from include.domain.title.work import result_key
from include.pipelines import core
from include.pipelines.core import pipeline, task
from include.services.settling import conclude
from include.stages.analyse import analyse
from include.stages.audio import audio
from include.stages.check import check
from include.stages.core import ControlContext, Handle
from include.stages.encode import encode
from include.stages.images import images
from include.stages.inspect import inspect
from include.stages.package import package
from include.stages.plan import plan
from include.stages.publish import publish
from include.stages.subtitles import subtitles
from include.stages.verify_source import verify_source
from tests.catalog.samples import NOW, after, find
from tests.orchestration.test_publish import PowerCut, _power_cut, pointer, prepared, published

EDITIONS = {"proxy": (False, 0), "core": (False, 1), "complete": (True, 0)}
"""Place of each: whether it is the whole set, and which of those before it."""
MISSING = {"proxy": ("h264_360p", "h264_720p"), "core": ("h264_720p",), "complete": ()}


class ThreeSets:
    """The packaged sets of a title's three editions."""

    def __init__(self, catalog: Catalog, store: LocalStore, settings: Settings) -> None:
        self.catalog, self.store, self.settings = catalog, store, settings
        self.complete = prepared(catalog, store, publish_at=after(100).isoformat())

    def package(self, edition: str) -> PackageResult:
        whole, place = EDITIONS[edition]
        if whole:
            return self.complete
        prefix = self.complete.prefix.replace("/package", f"/{edition}_package")
        self.store.put_bytes(f"{prefix}/hls.m3u8", f"#EXTM3U {edition}".encode())
        files = {"hls.m3u8": len(f"#EXTM3U {edition}")}
        changes = {"prefix": prefix, "files": files, "whole": False, "place": place, "missing": MISSING[edition]}
        return self.complete.model_copy(update=changes)

    def publish(self, edition: str, second: float) -> None:
        published(self.catalog, self.store, self.settings, self.package(edition), now=after(second))

    @property
    def place(self) -> tuple[bool, int]:
        now = pointer(self.store)
        return now["whole"], now.get("place", 0)


@pytest.fixture
def sets(catalog: Catalog, store: LocalStore, settings: Settings) -> ThreeSets:
    return ThreeSets(catalog, store, settings)


@pytest.mark.parametrize("dies", [False, True], ids=["well", "with a power cut each"])
@pytest.mark.parametrize("order", list(itertools.permutations(EDITIONS)), ids="-".join)
def test_in_whatever_order_they_are_published_the_title_only_goes_forward(
    order: tuple[str, ...], dies: bool, sets: ThreeSets, monkeypatch: pytest.MonkeyPatch
) -> None:
    furthest = (False, -1)
    for second, edition in enumerate(order):
        if dies:
            with monkeypatch.context() as patched, contextlib.suppress(PowerCut):
                patched.setattr(Versions, "publish", _power_cut)
                sets.publish(edition, second)
        sets.publish(edition, second)
        furthest = max(furthest, EDITIONS[edition])
        assert sets.place == furthest

    current = sets.catalog.versions.current("alpha")
    assert current is not None
    assert (current.whole, current.version) == (True, pointer(sets.store)["version"])
    numbers = {
        edition: sets.catalog.versions.allocate("spring/alpha", whole=whole, place=place, now=NOW)
        for edition, (whole, place) in EDITIONS.items()
    }
    assert sorted(numbers.values()) == [1, 2, 3]
    title = find(sets.catalog, "spring/alpha")
    assert title.playable_at == after(0)
    types = [row.type for row in sets.catalog.outbox.of_request("spring/alpha")]
    assert (types.count("title.playable"), types.count("title.published")) == (1, 1)


def test_a_title_that_comes_to_nothing_after_two_editions_ends_with_the_later_one(
    sets: ThreeSets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core, "_registry", dict(core._registry))
    title = find(sets.catalog, "spring/alpha")

    @pipeline(version=title.pipeline_version + 1, name="vod")
    def of_three_editions(handle: Handle) -> None:
        with task("prepare"):
            source = inspect(handle)
            analysis = analyse(handle, source)
        with task("plan"):
            planned = plan(handle, source, analysis, codecs=("h264",))
        with task("encode", each_job_of=planned) as job:
            renditions = encode(handle, source, planned, job)
        with task("extras"):
            tracks = audio(handle, source)
            text = subtitles(handle, source)
            pictures = images(handle, source, analysis)
            verified = verify_source(handle, source)
        contents = (handle, source, analysis, planned, renditions, tracks, text, pictures, verified)
        for name in (*list(EDITIONS)[:-1], None):
            before = f"{name}_" if name else ""
            with task(f"{before}finish", edition=name):
                verdicts = check(handle, source, analysis, planned, renditions, tracks, text, verified)
                packed = package(*contents, verdicts, progressive=False)
            with task(f"{before}publish", edition=name, publishes=True):
                publish(handle, packed)

    job = title.job().model_copy(update={"pipeline_version": title.pipeline_version + 1})
    for second, edition in enumerate(("proxy", "core")):
        made = sets.package(edition)
        sets.store.put_bytes(result_key(job, f"{edition}_package"), made.to_json().encode())
        sets.publish(edition, second)
    context = ControlContext(
        settings=sets.settings, store=sets.store, title=job, scratch=sets.settings.scratch, catalog=sets.catalog,
        clock=lambda: after(9),
    )  # fmt: skip

    verdict = conclude(context, RunResults())

    assert verdict.state is State.DEGRADED
    assert "published as v2 without h264_720p" in (verdict.message or "")
    (repair,) = sets.catalog.repairs.pending()
    assert repair.missing == MISSING["core"]

"""Small values that the catalog's tests share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from include.adapters.catalog import Catalog, TitleRecord
from include.domain.outcome.results import PackagedRendition, PackageResult, PublishResult
from include.domain.plan.degradation import Binding
from include.domain.title.request import ParsedBatch, parse_batch

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CALLBACK = "https://cms.example/hooks"


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_batch(batch_id: str = "spring", *titles: str, callback_url: str | None = CALLBACK, **fields: Any) -> ParsedBatch:
    """A batch of good titles; ``fields`` go into each of them."""
    conf = {
        "batch_id": batch_id,
        "callback_url": callback_url,
        "titles": [
            {"title_id": title, "mezzanine": f"file:///media/{title}.mov", **fields} for title in titles or ("alpha",)
        ],
    }
    return parse_batch(conf, pipelines=frozenset({"vod"}))


def accept(catalog: Catalog, batch_id: str = "spring", *titles: str, **fields: Any) -> None:
    assert catalog.batches.accept(a_batch(batch_id, *titles, **fields), pipeline_version=3, now=NOW)


def start(catalog: Catalog, request_id: str, *, now: datetime = NOW) -> TitleRecord:
    """Release everything that waits and begin one title."""
    for title in catalog.titles.claim(window=1000, now=now, claimant="tests"):
        assert catalog.titles.mark_released(title.request_id, claimant="tests", run_id=title.run_id or "", now=now)
    title = find(catalog, request_id)
    return catalog.titles.begin(dag_id=title.dag_id, run_id=title.run_id or "", now=now)


def publish(
    catalog: Catalog, request_id: str, *, now: datetime = NOW, degraded: bool = False, whole: bool = True
) -> int:
    version = catalog.versions.allocate(request_id, whole=whole, now=now)
    catalog.versions.publish(
        request_id,
        result=published(version, degraded=degraded, at=now, whole=whole),
        package=packaged(degraded=degraded, whole=whole),
        now=now,
    )
    return version


def find(catalog: Catalog, request_id: str) -> TitleRecord:
    title = catalog.titles.get(request_id)
    assert title is not None
    return title


def given_up(option: str = "veryfast", rendition: str = "h264_360p") -> Binding:
    """What an encode gave up for its title's deadline."""
    return Binding(
        rendition=rendition, option=option, instead_of="slow", vmaf_loss=1.8, saved_s=41, fit="safe", time_left_s=73
    )


def packaged(*, degraded: bool = False, whole: bool = True) -> PackageResult:
    """A set of two rungs; one that is degraded lacks a third, and a first version has yet to get it."""
    return PackageResult(
        prefix="work/alpha/spring.1/package",
        files={"hls.m3u8": 10, "dash.mpd": 20},
        hls="hls.m3u8",
        dash="dash.mpd",
        preview="preview.html",
        report="report.json",
        duration_s=12.5,
        rungs=tuple(
            PackagedRendition(
                rendition=f"h264_{height}p",
                codec="avc1.640015",
                width=height * 16 // 9,
                height=height,
                bandwidth=height * 3000,
                average_bandwidth=height * 2000,
                size_bytes=height * 1_000_000_000,
                vmaf=93.5,
            )
            for height in (144, 360)
        ),
        degraded=degraded,
        whole=whole,
        missing=("h264_720p",) if degraded or not whole else (),
        packager_version="3.4.2",
    )


def published(version: int, *, degraded: bool = False, at: datetime = NOW, whole: bool = True) -> PublishResult:
    base = f"https://cdn.example/titles/alpha/v{version}"
    return PublishResult(
        version=version,
        prefix=f"titles/alpha/v{version}",
        published_at=at,
        playable_at=at,
        whole=whole,
        hls=f"{base}/hls.m3u8",
        dash=f"{base}/dash.mpd",
        preview=f"{base}/preview.html",
        degraded=degraded,
        deadline_met=True,
    )

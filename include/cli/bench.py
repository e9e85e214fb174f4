"""``callsheet bench``: many jobs of one video, and the report that users of encoding farms know."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.base.settings import Settings
from include.cli.client import Client, all_good


def run_jobs(
    client: Client, settings: Settings, *, video: Path, jobs: int, concurrent: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Submit ``jobs`` one-title batches, at most ``concurrent`` at once, and report.

    Intake latency runs from the request to the title's place in the catalog, processing latency from there to its end.
    """
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    mezzanine = settings.mezzanine_roots[0] / f"bench-{stamp}{video.suffix}"
    mezzanine.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(video, mezzanine)
    done: list[dict[str, Any]] = []

    def one(number: int) -> dict[str, Any]:
        asked = datetime.now(UTC)
        batch_id = f"bench-{stamp}-{number:05d}"
        title = {"title_id": f"bench-{stamp}-{number:05d}", "mezzanine": mezzanine.as_uri(), "tier": "standard"}
        client.submit({"batch_id": batch_id, "titles": [title]})
        *_, last = client.watch(batch_id)
        result = {"asked": asked, "good": all_good(last), **last[0]}
        done.append(result)
        say(f"{len(done)}/{jobs}: {result['request_id']} {result['state']}")
        return result

    started = time.monotonic()
    try:
        with ThreadPoolExecutor(max_workers=concurrent) as pool:
            results = list(pool.map(one, range(jobs)))
    finally:
        mezzanine.unlink()
    return report(results, wall_s=time.monotonic() - started, concurrent=concurrent)


def report(results: list[dict[str, Any]], *, wall_s: float, concurrent: int) -> dict[str, Any]:
    """The report of finished jobs: flat numbers, and the latencies in seconds."""
    good = [result for result in results if result["good"]]
    intake = [_between(result["asked"], result["created_at"]) for result in results]
    processing = [_between(result["created_at"], result["settled_at"]) for result in good]
    return {
        "jobs": len(results),
        "succeeded": len(good),
        "success_rate": len(good) / len(results),
        "concurrent": concurrent,
        "wall_s": round(wall_s, 2),
        "throughput_jobs_per_hour": round(3600 * len(good) / wall_s, 1),
        "intake_latency_s": summary(intake),
        "processing_latency_s": summary(processing),
    }


def summary(values: list[float]) -> dict[str, float | None]:
    """Minimum, maximum, mean, median and 95th percentile (nearest rank); None where there is nothing to sum up."""
    if not values:
        return dict.fromkeys(("min", "max", "mean", "p50", "p95"))
    ordered = sorted(values)
    return {
        "min": round(ordered[0], 3),
        "max": round(ordered[-1], 3),
        "mean": round(statistics.fmean(ordered), 3),
        "p50": round(statistics.median(ordered), 3),
        "p95": round(ordered[max(0, -(-95 * len(ordered) // 100) - 1)], 3),
    }


def _between(start: datetime | str, end: datetime | str) -> float:
    moments = [datetime.fromisoformat(each) if isinstance(each, str) else each for each in (start, end)]
    return (moments[1] - moments[0]).total_seconds()

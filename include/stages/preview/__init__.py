"""The page beside the manifests: plays the title, pins its rungs, and shows what was measured."""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path

from include.adapters.players import find_player
from include.domain.outcome.report import Report
from include.domain.recipe.codecs import CODECS

PAGE = "preview.html"
PLAYER = "player/hls.min.js"
_HERE = Path(__file__).parent


def write_preview(folder: Path, report: Report, player: Path | None = None) -> None:
    """Write ``preview.html``, and the player where there is one, into the set in ``folder``."""
    player = player or find_player()
    if player is not None:
        target = folder / PLAYER
        target.parent.mkdir()
        shutil.copyfile(player, target)
    (folder / PAGE).write_text(render(report, player=PLAYER if player else None), encoding="utf-8")


def render(report: Report, *, player: str | None) -> str:
    """The page. Everything of the title is escaped; script and style run by their hashes alone."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.filters.update(bitrate=bitrate, size=size, clock=clock, number=number)
    style, script = (_HERE / "page.css").read_text(), (_HERE / "page.js").read_text()
    return environment.get_template("page.html.j2").render(
        report=report,
        title=report.name or report.title_id,
        player=player,
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        rungs=[each for each in reversed(report.renditions) if each.packaged is not None],
        left_out=[each for each in reversed(report.renditions) if each.packaged is None],
        hls_rungs=[each for each in reversed(report.renditions) if each.packaged and CODECS[each.recipe.codec].hls],
    )


def bitrate(bits_per_second: int) -> str:
    """``1.85 Mbit/s`` or ``640 kbit/s``."""
    if bits_per_second >= 1_000_000:
        return f"{bits_per_second / 1e6:.2f} Mbit/s"
    return f"{bits_per_second / 1000:.0f} kbit/s"


def size(size_bytes: int) -> str:
    """``12.3 MB`` or ``640 kB``."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 1_000_000 else f"{size_bytes / 1000:.0f} kB"


def clock(seconds: float) -> str:
    """``1:02:03``, ``2:03``, or ``0.04 s`` for what is shorter than a second."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def number(value: float) -> str:
    """Without a needless ``.0``: ``25``, ``23.976``."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

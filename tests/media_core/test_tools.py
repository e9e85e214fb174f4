from __future__ import annotations

from pathlib import Path

import pytest

from include.adapters import tools
from include.base.errors import ConfigurationError, PlatformUnavailable
from include.base.settings import Settings


def test_all_tools_come_with_the_requirements_and_say_their_versions() -> None:
    settings = Settings()

    assert all(Path(find(settings)).is_file() for find in (tools.ffmpeg, tools.ffprobe, tools.packager))
    assert tools.ffmpeg_version(settings)[0].isdigit()
    assert tools.packager_version(settings).startswith("v")


def test_a_path_that_is_no_program_names_the_setting_and_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match="CALLSHEET_FFPROBE: '/nowhere/ffprobe' is not an executable; set"):
        tools.ffprobe(Settings(ffprobe="/nowhere/ffprobe"))


def test_a_program_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not say its version"):
        tools.ffmpeg_version(Settings(ffmpeg="/bin/true"))
    broken = tmp_path / "ffmpeg"
    broken.write_text("not a program")
    broken.chmod(0o755)
    with pytest.raises(ConfigurationError, match="does not run"):
        tools.ffmpeg_version(Settings(ffmpeg=str(broken)))


def test_an_encode_uses_the_cores_of_its_slot_and_at_least_one() -> None:
    cores = tools.encode_threads(Settings(encode_slots=1))

    assert cores >= 1
    assert tools.encode_threads(Settings(encode_slots=cores)) == 1
    assert tools.encode_threads(Settings(encode_slots=10_000)) == 1


def test_a_tool_that_is_killed_while_it_says_its_version_is_asked_again(tmp_path: Path) -> None:
    """By a later attempt: the machine had a bad moment, the configuration is well."""
    dying = tmp_path / "ffmpeg"
    dying.write_text("#!/bin/sh\nkill -KILL $$\n")
    dying.chmod(0o755)

    with pytest.raises(PlatformUnavailable, match="signal 9"):
        tools.ffmpeg_version(Settings(ffmpeg=str(dying)))

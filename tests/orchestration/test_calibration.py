"""Sample encodes by the product's own stages and the real ffmpeg, and where forecasts find what they showed."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from include.adapters.catalog import Catalog
from include.base.errors import ConfigurationError
from include.base.settings import Settings
from include.cli import calibrate as calibration
from include.cli.app import app
from include.domain.cost.calibration import Calibration
from include.domain.cost.rates import Pair
from include.recipes import load_cost_rates
from include.services.valuation import farm_factors, kept_calibration
from tests.catalog.samples import NOW
from tests.clips import Clips

QUICK: Pair = ("libx264", "ultrafast")


def call(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["calibrate", *arguments], input=stdin)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair alone: every other one would add seconds to each of these tests."""
    monkeypatch.setattr(calibration, "wanted_pairs", lambda: (QUICK,))


@pytest.fixture
def files(clips: Clips) -> list[Path]:
    """Three contents; a 360p picture of 15 s is enough to tell something."""
    looks = {"bars": "smptebars", "test": "testsrc", "test2": "testsrc2"}
    return [
        clips(f"calibrate-{name}.mp4", seconds=15.0, size="640x360", picture=picture, languages=())
        for name, picture in looks.items()
    ]


def test_pairs_are_those_of_the_tiers_and_what_they_may_fall_back_to() -> None:
    pairs = calibration.wanted_pairs()

    assert {("libx264", "slow"), ("libx264", "medium"), ("libx264", "veryfast"), ("libvpx-vp9", "2")} <= set(pairs)
    assert QUICK in pairs, "the quickest that the floor of ugc allows"
    assert set(pairs) <= {(encoder, preset) for encoder, known in load_cost_rates().encode.items() for preset in known}


def test_clips_of_the_farm_s_own_are_measured_and_kept_for_its_forecasts(
    quick: None, files: list[Path], catalog: Catalog, settings: Settings
) -> None:
    assert farm_factors(catalog, settings) == {}

    done = call(*map(str, files), "--json")

    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    (pair,) = document["pairs"]
    assert (pair["encoder"], pair["preset"], pair["samples"], pair["counts"]) == (*QUICK, 3, True)
    assert 0 < pair["lowest"] <= pair["factor"] <= pair["highest"]
    assert "3 of 3: libx264 ultrafast, calibrate-" in done.stderr
    kept = kept_calibration(settings)
    assert kept is not None
    assert {each.content for each in kept.samples} == {file.name for file in files}
    assert document["kept"] == f"{settings.store_uri}/models/calibration/current.json"
    assert farm_factors(catalog, settings)[QUICK] == pytest.approx(pair["factor"], rel=1e-3)


def test_without_clips_pictures_of_different_complexity_are_encoded(
    quick: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {name: source.replace("1280x720", "640x360") for name, source in calibration.PICTURES.items()}
    monkeypatch.setattr(calibration, "PICTURES", small)
    monkeypatch.setattr(calibration, "SAMPLE_S", 10.0)

    found = calibration.measure(settings, [], say=lambda line: None, now=NOW)

    cost = {each.content: each.cpu_s for each in found.samples}
    assert cost["graphics"] < cost["detail"] < cost["grain"]


def test_what_another_machine_has_printed_can_be_kept(
    quick: None, files: list[Path], settings: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert calibration.main([str(files[0])]) == 0
    printed = tmp_path / "measured.json"
    printed.write_text(capsys.readouterr().out)
    assert kept_calibration(settings) is None

    done = call("--from", str(printed))

    assert done.exit_code == 0, done.output
    assert "too few to count" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert kept_calibration(settings) == Calibration.from_json(printed.read_text())
    again = call("--from", "-", stdin=printed.read_text())
    assert again.exit_code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [("{}", "no calibration: measured_at"), ("x", "no calibration: Invalid JSON")],
)
def test_what_is_no_calibration_is_not_kept(text: str, message: str, settings: Settings, tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(text)

    done = call("--from", str(bad))

    assert isinstance(done.exception, ConfigurationError)
    assert message in done.exception.message
    assert kept_calibration(settings) is None


def test_a_measurement_elsewhere_and_clips_of_here_are_not_mixed(files: list[Path], settings: Settings) -> None:
    done = call(str(files[0]), "--from", "x.json")

    assert done.exit_code != 0
    assert kept_calibration(settings) is None


def test_no_sample_begins_when_the_time_is_up(
    quick: None, files: list[Path], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "BEGIN_BEFORE_S", 0.0)
    said: list[str] = []

    with pytest.raises(ConfigurationError, match="no sample encode ended well"):
        calibration.measure(settings, files[:1], say=said.append, now=NOW)

    assert said[-1] == "1 samples were left out: the time was up"


def test_an_encoder_that_fails_costs_its_samples_alone(
    files: list[Path], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "wanted_pairs", lambda: (QUICK, ("libx264", "nonsense")))
    rates = load_cost_rates()
    known = {**rates.encode["libx264"], "nonsense": 8.0}
    odd = rates.model_copy(update={"encode": {"libx264": known}})
    monkeypatch.setattr(calibration, "load_cost_rates", lambda: odd)
    said: list[str] = []

    found = calibration.measure(settings, files[:1], say=said.append, now=NOW)

    assert {(each.encoder, each.preset) for each in found.samples} == {QUICK}
    assert any("nonsense" in line and "ended with" in line for line in said)


def test_a_stopped_calibration_begins_no_further_sample_and_leaves_no_file(
    quick: None, files: list[Path], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    said: list[str] = []

    def stop(line: str) -> None:
        said.append(line)
        if " of 3: libx264" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibration.measure(settings, files, say=stop, now=NOW)

    assert sum(" of 3: libx264" in line for line in said) == 1
    assert not list(tmp_path.glob("callsheet-calibrate-*"))


@pytest.mark.parametrize("seconds", [1.0, 0.2])
def test_a_clip_that_tells_nothing_is_said_to(seconds: float, quick: None, clips: Clips, settings: Settings) -> None:
    brief = clips(f"calibrate-brief-{seconds}.mp4", seconds=seconds)

    with pytest.raises(ConfigurationError, match="too short or too small"):
        calibration.measure(settings, [brief], say=lambda line: None, now=NOW)


def test_too_many_clips_and_files_without_a_picture_are_refused(
    clips: Clips, settings: Settings, tmp_path: Path
) -> None:
    quiet: dict[str, Any] = {"say": lambda line: None, "now": NOW}
    text = tmp_path / "notes.mp4"
    text.write_text("no video")

    with pytest.raises(ConfigurationError, match=r"notes\.mp4: holds no video"):
        calibration.measure(settings, [text], **quiet)
    with pytest.raises(ConfigurationError, match="13 clips: at most 12"):
        calibration.measure(settings, [text] * 13, **quiet)
    assert calibration.main([str(text)]) == ConfigurationError("").exit_code

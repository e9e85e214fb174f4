from __future__ import annotations

from pathlib import Path

import pytest

from include.base.errors import ConfigurationError
from include.domain.title.title import Tier
from include.recipes import load_ladders, load_tiers

RUNG = "{name: a, width: 256, height: 144, maxrate_kbps: 100, crf: 20}"
HIGHER = "{name: b, width: 512, height: 288, maxrate_kbps: 300, crf: 20}"


def test_the_ladders_reach_from_144p_to_2160p_for_both_codecs() -> None:
    ladders = load_ladders()

    assert {"h264", "vp9"} == set(ladders)
    for ladder in ladders.values():
        assert (ladder.rungs[0].name, ladder.rungs[-1].name) == ("144p", "2160p")
        assert (ladder.gop_s, ladder.segment_s) == (2.0, 6.0)


def test_every_tier_names_core_rungs_that_the_ladders_have() -> None:
    names = {rung.name for rung in load_ladders()["h264"].rungs}

    assert set(Tier) == set(load_tiers())
    assert all(set(policy.core) <= names for policy in load_tiers().values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "recipes/ladders.yaml: must be a mapping"),
        ("a: [", "recipes/ladders.yaml: while parsing"),
        ("av1: {}", "recipes/ladders.yaml: av1: no such codec (known: h264, vp9)"),
        (f"h264: {{preset: '4', rungs: [{RUNG}]}}", "recipes/ladders.yaml: h264: preset: Input should be 'fast', "),
        ("h264: {preset: fast, rungs: []}", "recipes/ladders.yaml: h264: a ladder is a mapping with a list of rungs"),
        (f"h264: {{rungs: [{RUNG}]}}", "recipes/ladders.yaml: h264: preset: Field required"),
        (f"h264: {{preset: fast, speed: 1, rungs: [{RUNG}]}}", "recipes/ladders.yaml: h264: speed: Extra inputs"),
        (
            f"h264: {{preset: fast, rungs: [{RUNG}, {{name: b}}]}}",
            "recipes/ladders.yaml: h264: rung 2: width: Field required",
        ),
        (
            "h264: {{preset: fast, rungs: [{}, {}]}}".format(RUNG, HIGHER.replace("300", "90")),
            "recipes/ladders.yaml: h264: rung 2: maxrate_kbps 90 is not above rung 1's 100",
        ),
        (f"h264: {{preset: fast, rungs: [{HIGHER}, {RUNG}]}}", "rung 2: width 256 is not above rung 1's 512"),
        (
            "h264: {{preset: fast, rungs: [{}, {}]}}".format(RUNG, HIGHER.replace("b", "a", 1)),
            "rung 2: name a appears twice",
        ),
        (
            "h264: {{preset: fast, rungs: [{}]}}".format(RUNG.replace("crf: 20", "crf: 0")),
            "rung 1: crf 0.0 must be above 0",
        ),
        (
            "h264: {{preset: fast, rungs: [{}]}}".format(RUNG.replace("144", "145")),
            "rung 1: box 256×145 must be even and landscape",
        ),
    ],
)
def test_a_faulty_ladder_is_refused_with_file_place_and_conflict(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "ladders.yaml").write_text(text)

    with pytest.raises(ConfigurationError) as caught:
        load_ladders(tmp_path)

    assert message in caught.value.message


def test_a_faulty_tier_is_refused_with_file_and_place(tmp_path: Path) -> None:
    text = "{presets: {}, crf_offset: 0, core: [360p]}"
    (tmp_path / "tiers.yaml").write_text(
        f"premium: {text}\nstandard: {text}\nugc: {{presets: {{}}, crf_offset: 99, core: [a]}}"
    )

    with pytest.raises(ConfigurationError, match=r"recipes/tiers.yaml: ugc: crf_offset: .* less than or equal to 10"):
        load_tiers(tmp_path)
    hardware = "{presets: {}, crf_offset: 0, core: [360p], hardware: {h264: slow}}"
    (tmp_path / "tiers.yaml").write_text(f"premium: {text}\nstandard: {text}\nugc: {hardware}")
    with pytest.raises(ConfigurationError, match=r"recipes/tiers.yaml: ugc: hardware.h264: Input should be 'p1', 'p2'"):
        load_tiers(tmp_path)
    for fault, message in (
        ("presets: {h264: p5}", "presets.h264: Input should be 'fast', .*: libx264 knows no preset 'p5'"),
        ("presets: {av1: fast}", r"presets: av1: no such codec \(known: h264, vp9\)"),
        ("presets: {}, hardware: {vp9: p5}", "hardware.vp9: no hardware encoder makes vp9 here"),
    ):
        (tmp_path / "tiers.yaml").write_text(
            f"premium: {text}\nstandard: {text}\nugc: {{{fault}, crf_offset: 0, core: [a]}}"
        )
        with pytest.raises(ConfigurationError, match=f"recipes/tiers.yaml: ugc: {message}"):
            load_tiers(tmp_path)
    (tmp_path / "tiers.yaml").write_text(f"gold: {text}")
    with pytest.raises(
        ConfigurationError, match=r"recipes/tiers\.yaml: has the tiers gold; wanted are premium, standard, ugc"
    ):
        load_tiers(tmp_path)
    (tmp_path / "tiers.yaml").unlink()
    with pytest.raises(ConfigurationError, match=r"recipes/tiers.yaml: .*No such file"):
        load_tiers(tmp_path)

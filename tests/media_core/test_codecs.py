from __future__ import annotations

import re
from pathlib import Path

import pytest

from include.adapters.ffmpeg.encoders.registry import BUILDERS
from include.domain.recipe.codecs import CODECS, NVENC_H264, SOFTWARE_ENCODERS, UNIVERSAL, SizeLimits
from include.recipes import load_cost_rates, load_ladders, load_presets, load_tiers

INCLUDE = Path(__file__).parents[2] / "include"
MAY_NAME_CODECS = ("domain/recipe/codecs.py", "pipelines/", "adapters/ffmpeg/encoders/")


def test_every_encoder_of_the_table_has_an_option_builder_and_none_has_one_without_the_table() -> None:
    hardware = {codec.hardware.name for codec in CODECS.values() if codec.hardware}

    assert {*SOFTWARE_ENCODERS, *hardware} == set(BUILDERS)


def test_every_codec_can_be_played_somewhere_and_the_universal_one_everywhere() -> None:
    assert all(codec.hls or codec.dash for codec in CODECS.values())
    assert (UNIVERSAL.hls, UNIVERSAL.dash, UNIVERSAL.progressive) == (True, True, True)
    assert all(codec.bit_depths[0] == 8 for codec in CODECS.values())


def test_presets_of_recipes_are_known_to_their_encoders_and_their_costs_fall_from_slow_to_fast() -> None:
    costs = load_cost_rates().encode
    for name, encoder in SOFTWARE_ENCODERS.items():
        assert set(costs[name]) <= set(encoder.presets)
        assert set(load_presets().vmaf_loss[name]) <= set(encoder.presets)
        in_order = [costs[name][preset] for preset in encoder.presets if preset in costs[name]]
        assert in_order == sorted(in_order, reverse=True)
    assert set(load_ladders()) <= set(CODECS)
    assert all(set(policy.hardware.values()) <= set(NVENC_H264.presets) for policy in load_tiers().values())


@pytest.mark.parametrize(
    ("size", "taken"),
    [((146, 50), True), ((144, 256), False), ((256, 48), False), ((4096, 2160), True), ((2160, 4098), False)],
)
def test_an_encoder_takes_sizes_within_its_limits(size: tuple[int, int], taken: bool) -> None:
    limits = SizeLimits(least_width=146, least_height=50, longest_side=4096)

    assert limits.hold(*size) == taken
    assert NVENC_H264.takes(*size) == taken
    assert UNIVERSAL.software.takes(*size)


def test_only_the_table_encoders_and_pipelines_name_codecs() -> None:
    names = {*CODECS, *BUILDERS, *(codec.sample_entry for codec in CODECS.values())}
    literal = re.compile("|".join(f'"{re.escape(name)}"' for name in sorted(names)))
    files = [path for path in INCLUDE.rglob("*.py") if literal.search(path.read_text())]

    assert files
    odd = [path.relative_to(INCLUDE).as_posix() for path in files]
    assert [name for name in odd if not name.startswith(MAY_NAME_CODECS)] == []

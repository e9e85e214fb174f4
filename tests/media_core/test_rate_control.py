from __future__ import annotations

import pytest
from pydantic import ValidationError

from include.adapters.ffmpeg.encoders.registry import encoder_options
from include.base.errors import ConfigurationError
from include.domain.recipe.codecs import NVENC_H264, X264
from include.domain.recipe.rate_control import CappedCrf, NvencCq
from include.domain.recipe.rungs import Rendition
from include.domain.recipe.treatment import SourceTreatment

CRF = CappedCrf(crf=23, maxrate_kbps=800, bufsize_kbps=1200)


def rendition(**fields: object) -> Rendition:
    known: dict[str, object] = {
        "name": "h264_360p",
        "rung": "360p",
        "codec": "h264",
        "encoder": X264.name,
        "width": 640,
        "height": 360,
        "frame_rate": "25",
        "frames": None,
        "rate_control": CRF,
        "treatment": SourceTreatment(),
        "preset": "medium",
        "gop_frames": 50,
        "core": True,
    }
    return Rendition(**{**known, **fields})  # type: ignore[arg-type]  # a table of fields


@pytest.mark.parametrize("control", [CRF, NvencCq.like(CRF)])
def test_a_kind_of_rate_control_survives_the_document(control: CappedCrf | NvencCq) -> None:
    made = rendition(rate_control=control)

    assert made == Rendition.from_json(made.to_json())
    assert made.maxrate_kbps == control.maxrate_kbps == 800


def test_a_kind_that_nobody_knows_and_numbers_without_a_kind_are_refused() -> None:
    text = rendition().to_json()

    with pytest.raises(ValidationError, match="rate_control"):
        Rendition.from_json(text.replace("capped_crf", "guess"))
    with pytest.raises(ValidationError, match="rate_control"):
        Rendition.from_json(text.replace('"kind":"capped_crf",', ""))


def test_quality_is_shifted_within_the_same_limits() -> None:
    assert CappedCrf(crf=21.5, maxrate_kbps=800, bufsize_kbps=1200) == CRF.shifted(-1.5)
    assert NvencCq(cq=24, maxrate_kbps=800, bufsize_kbps=1200) == NvencCq.like(CRF).shifted(1)


def test_an_encoder_refuses_the_rate_control_of_another_one_and_an_unknown_encoder_is_named() -> None:
    with pytest.raises(ConfigurationError, match="h264_360p: h264_nvenc is told bits by NvencCq, not by capped_crf"):
        encoder_options(rendition(encoder=NVENC_H264.name))
    with pytest.raises(ConfigurationError, match="h264_360p: libx264 is told bits by CappedCrf, not by nvenc_cq"):
        encoder_options(rendition(rate_control=NvencCq.like(CRF)))
    with pytest.raises(ConfigurationError, match=r"h264_360p: no encoder 'abacus' is known here \(known: libx264, "):
        encoder_options(rendition(encoder="abacus"))


def test_treatment_and_rate_control_are_part_of_what_a_recipe_is() -> None:
    others = (
        {},
        {"treatment": SourceTreatment(tone_map=True)},
        {"treatment": SourceTreatment(deinterlace=True)},
        {"rate_control": CRF.shifted(1)},
        {"rate_control": NvencCq.like(CRF)},
    )

    assert len({rendition(**fields).recipe_hash for fields in others}) == len(others)
    assert rendition().recipe_hash == rendition(core=False, name="x", rung="y", frames=7).recipe_hash

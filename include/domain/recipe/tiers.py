"""What a tier asks of recipes: presets, quality, core rungs, floor."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from pydantic import Field

from include.base.document import Document
from include.domain.media.sampling import ComparedFrames, compared_frames
from include.domain.recipe.rungs import Ladder

FirstVersionRule = Literal["always", "deadline", "never"]
"""When core rungs go out as a first version: for every title, for one whose deadline all of its rungs would miss, or
for none."""


class TierPolicy(Document):
    """What a tier changes in the ladders."""

    presets: dict[str, str]
    """Encoder preset by codec."""
    crf_offset: float = Field(ge=-10, le=10)
    """Added to every rung's CRF."""
    hardware: dict[str, str] = Field(default_factory=dict)
    """Hardware encoder's preset by codec. A codec that is not named stays with its software encoder."""
    core: tuple[str, ...] = Field(min_length=1)
    """Rungs of the first codec without which the title does not go out."""
    vmaf_may_lose: float = Field(default=0.0, ge=0, le=20)
    """VMAF points below the tier's own preset that an encode may give up for its deadline: the quality floor."""
    compared_every_s: float = Field(default=2.0, gt=0)
    """Seconds from one frame whose VMAF the checks measure to the next, before a title goes out …"""
    compared_frames: int = Field(default=10, ge=4, le=200)
    """… but at most so many frames, all over the title."""
    proof: Literal["every_frame"] | None = None
    """What a published set is proved by, after its publication: the VMAF of every frame; None for nothing."""
    field_pictures: bool = False
    """Whether each field of interlaced video becomes a picture (50i at 50 fps), and not each frame (at 25)."""
    limiter_db: float = Field(default=0.0, ge=0, le=12)
    """How far a limiter may take the highest peaks of a sound down where the gain to the target loudness would lift
    them above the true peak. What is beyond that is lowered: with 0 the dynamics always stay as they were made."""
    playable_first: FirstVersionRule = "deadline"
    """When the core rungs go out as a first version, where the request does not say."""

    def compared(self, duration_s: float, fps: Fraction) -> ComparedFrames:
        """Which frames of each rendition the checks compare with the source.

        Args:
            duration_s: Of the title.
            fps: Exact constant rate of the renditions.
        """
        return compared_frames(duration_s, every_s=self.compared_every_s, most=self.compared_frames, fps=fps)

    def core_of(self, rungs: Sequence[str]) -> set[str]:
        """Names of the core rungs among those of a title's first codec, lowest first: the lowest where none is one."""
        return set(rungs) & set(self.core) or set(rungs[:1])


def core_of(ladder: Ladder, policy: TierPolicy) -> Ladder:
    """The rungs of the title's first codec without which it does not go out."""
    names = policy.core_of([rung.name for rung in ladder.rungs])
    return ladder.model_copy(update={"rungs": tuple(rung for rung in ladder.rungs if rung.name in names)})

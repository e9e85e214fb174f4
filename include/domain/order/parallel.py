"""How much of the farm one title may use at once: its share of the slots, and into how many chunks an encode is cut.

Order alone cannot make a valuable title quick: on a busy farm it saves the wait, never the encode itself. Slots do.
"""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from include.base.document import Document

EXPRESS_SHARE = 4
"""One place in so many is there beyond the release window, for a title that goes before all that have one."""


class ParallelPolicy(Document):
    """Shares of the slots by value and laxity, and the size of chunks."""

    least_share: float = Field(gt=0, le=1)
    """Of the slots, for a title without any value."""
    most_share: float = Field(gt=0, le=1)
    """For a title of the highest score, and for one that has no laxity left."""
    chunk_s: float = Field(gt=0)
    """Slot seconds of a chunk that is worth its overhead."""
    longest_chunk_s: float = Field(gt=0)
    """Slot seconds after which a slot comes free again: nothing stops a task that runs, however urgent another is."""
    chunk_overhead: float = Field(ge=0, lt=1)
    """Share of work that cutting into chunks adds: decoding up to the cut, rate control that starts anew."""
    chunked_from: int = Field(ge=0, le=1000)
    """Score from which encodes are cut into chunks without need."""

    @model_validator(mode="after")
    def _ordered(self) -> ParallelPolicy:
        if self.least_share > self.most_share:
            raise ValueError(f"least_share {self.least_share:g} is above most_share {self.most_share:g}")
        if self.chunk_s > self.longest_chunk_s:
            raise ValueError(f"chunk_s {self.chunk_s:g} is above longest_chunk_s {self.longest_chunk_s:g}")
        return self


def slots_for(*, score: int, laxity_s: float | None, slots: int, policy: ParallelPolicy) -> int:
    """Slots that a title may use at once while others wait; at least one. More value or less laxity never lowers it.

    Args:
        score: 0–1000.
        laxity_s: Time to spare before the deadline, None without one.
        slots: Of the pool.
        policy: The shares.
    """
    share = policy.least_share + (policy.most_share - policy.least_share) * score / 1000
    if laxity_s is not None and laxity_s <= 0:
        share = policy.most_share
    return max(1, math.ceil(slots * share - 1e-9))


def chunks_for(*, work_s: float, score: int, laxity_s: float | None, slots: int, policy: ParallelPolicy) -> int:
    """Into how many chunks an encode is cut: one where the title is neither valuable nor in danger.

    Args:
        work_s: Predicted slot seconds of the whole encode.
        score: Of the title.
        laxity_s: Of the title if the encode is not cut.
        slots: That the title may use at once, from :func:`slots_for`.
        policy: Sizes of a chunk.
    """
    if score < policy.chunked_from and (laxity_s is None or laxity_s > 0):
        return 1
    wide = min(slots, math.floor(work_s / policy.chunk_s))
    return max(1, wide, math.ceil(work_s / policy.longest_chunk_s))


def express_places(window: int) -> int:
    """Places beyond a release window of ``window`` places: one in :data:`EXPRESS_SHARE`, at least one."""
    return max(1, window // EXPRESS_SHARE)

"""How much of the farm one title may use at once: its share of the slots, and into how many chunks an encode is cut.

The order makes a valuable title start early. Only slots make its encodes quick.
"""

from __future__ import annotations

import math

from pydantic import Field, model_validator

from include.base.document import Document

EXPRESS_SHARE = 4
"""Beyond the release window there is one more place for every so many of its places. It is for titles with a higher
priority than all that have a place."""


class ParallelPolicy(Document):
    """Shares of the slots by value and laxity, and the size of chunks."""

    least_share: float = Field(gt=0, le=1)
    """Share of the slots for a title of score 0."""
    most_share: float = Field(gt=0, le=1)
    """Share of the slots for a title of the highest score, and for one that has no laxity left."""
    chunk_s: float = Field(gt=0)
    """Slot seconds from which a chunk is worth its overhead."""
    longest_chunk_s: float = Field(gt=0)
    """Slot seconds that a chunk may take at most. A running task is not stopped for a more urgent one, so this is how
    long an urgent title may have to wait for a slot."""
    chunk_overhead: float = Field(ge=0, lt=1)
    """Share of the work, 0–1, that is added by cutting: each chunk decodes up to its cut, and its rate control starts
    anew."""
    chunked_from: int = Field(ge=0, le=1000)
    """Score from which encodes are cut into chunks although no deadline asks for it."""

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

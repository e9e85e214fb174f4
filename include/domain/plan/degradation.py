"""What a title may give up to be in time: ordered options, the least loss first, never below the tier's floor.

An encode job binds late: it carries its options with what each one is predicted to take and to lose, and takes the
best that still fits when it starts (:func:`best_that_fits`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from include.base.document import Document

Fit = Literal["safe", "likely", "late"]
"""How the chosen option stands to the time that is left: even its p90 fits; its median fits; nothing allowed fits."""


DROP = "drop"
"""The option of leaving a rung out."""


class Option(Document):
    """One way of doing an encode job."""

    name: str
    """The preset, or :data:`DROP`."""
    p50_s: float = Field(ge=0)
    """Predicted wall time, median."""
    p90_s: float = Field(ge=0)
    vmaf_loss: float = Field(ge=0)
    """VMAF points below the job's best option; of a dropped rung, those below the next rung at its viewers' size."""
    allowed: bool = True
    """False where the tier's quality floor forbids it."""


class Choice(Document):
    """The option that a job takes, and why."""

    option: Option
    fit: Fit
    saved_s: float
    """Median time saved against the best option."""

    @property
    def degraded(self) -> bool:
        """Whether something was given up."""
        return self.option.vmaf_loss > 0

    def __str__(self) -> str:
        if not self.degraded:
            return f"{self.option.name}, nothing given up" + (", and late all the same" if self.fit == "late" else "")
        return f"{self.option.name}: costs {self.option.vmaf_loss:.1f} VMAF, saves {self.saved_s:.0f} s" + (
            ", and late all the same" if self.fit == "late" else ""
        )


class Binding(Document):
    """The option that an encode took at its start, and why."""

    rendition: str
    option: str
    instead_of: str | None = None
    """What it would have been with time enough; None where nothing was given up."""
    vmaf_loss: float = Field(ge=0)
    saved_s: float
    fit: Fit
    time_left_s: float | None
    """The job's share of the time until the deadline; None where no deadline counts."""

    @property
    def degraded(self) -> bool:
        """Whether something was given up."""
        return self.instead_of is not None

    @property
    def dropped(self) -> bool:
        """Whether the rung was left out."""
        return self.option == DROP

    @property
    def what(self) -> str:
        """What was given up, and how much, in words."""
        what = "left out" if self.dropped else f"{self.option} instead of {self.instead_of}"
        return f"{what}: costs {self.vmaf_loss:.1f} VMAF, saves {self.saved_s:.0f} s"

    def __str__(self) -> str:
        left = "" if self.time_left_s is None else f"; {self.time_left_s:.0f} s are left for it"
        late = ", and late all the same" if self.fit == "late" else ""
        return f"{self.what if self.degraded else f'{self.option}, nothing given up'}{late}{left}"


def best_that_fits(options: Sequence[Option], *, time_left_s: float | None, hurried: bool = False) -> Choice:
    """The option with the least loss that fits.

    First one whose p90 fits; where none does, the one with the least loss whose median fits. Where nothing that is
    allowed fits, the title will be late, and the quickest allowed option makes it least so; the back-fill restores
    what was given up. An option that the floor forbids is never taken.

    Args:
        options: At least one of them allowed.
        time_left_s: Until the moment at which the job must be done; None without a deadline.
        hurried: Only the quickest that is allowed counts, whatever the time: other titles' deadlines need it.
    """
    allowed = sorted((each for each in options if each.allowed), key=lambda each: (each.vmaf_loss, each.p50_s))
    if not allowed:
        raise ValueError("none of a job's options is allowed: its best one must always be")
    best = allowed[0]
    if time_left_s is None:
        return Choice(option=best, fit="safe", saved_s=0.0)
    fit: Fit = "late"
    chosen = min(allowed, key=lambda each: (each.p50_s, each.vmaf_loss))
    ways = [chosen] if hurried else allowed
    likely = [each for each in ways if each.p50_s <= time_left_s]
    safe = [each for each in ways if each.p90_s <= time_left_s]
    if safe:
        chosen, fit = safe[0], "safe"
    elif likely:
        chosen, fit = likely[0], "likely"
    return Choice(option=chosen, fit=fit, saved_s=max(0.0, best.p50_s - chosen.p50_s))

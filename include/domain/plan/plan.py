"""What is to be encoded and how: rungs, recipes, the plan of a title and the job of each encode."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from include.base.document import Document
from include.domain.cost.features import EncodeFeatures, SourceFeatures, encode_features
from include.domain.cost.predictor import Prediction
from include.domain.plan.degradation import Binding, Option
from include.domain.recipe.rungs import Rendition


class EncodeOption(Document):
    """One way of doing an encode job within the same pool, resources and outputs."""

    option: Option
    """What it is predicted to take and to lose."""
    rendition: Rendition | None
    """What it encodes; None leaves the rung out."""


class EncodeJob(Document):
    """One mapped encode: which rendition, on which pool, within which limits."""

    name: str
    """Job name; unique in a plan and safe in a path."""
    rendition: Rendition
    hardware: Rendition | None = None
    """The same rendition as a hardware encoder makes it: wanted where that encoder works, else the one above."""
    pool: str
    """Name of the pool that it runs in (:mod:`include.base.pools`): ``cpu_encode`` or ``gpu_encode``."""
    prediction: Prediction
    """Of the software form; memory and size are enough for either."""
    time_limit_s: float
    """Wall time of the slower form, at most what the deployment allows."""
    options: tuple[EncodeOption, ...] = ()
    """The ways of doing it, the least loss first; empty for a job that has no choice."""
    after_s: float = 0.0
    """Predicted time of what follows it beside the title's other encodes, in the slots that the title gets (median)."""
    reserve_s: float = 0.0
    """Predicted time from the last encode's end to the publication (90th percentile)."""
    binding: Binding | None = None
    """The option that it took at its start; None in a plan."""

    def made_by(self, encoder: str | None, option: str | None = None) -> Rendition:
        """The form of the rendition that ``encoder`` makes with ``option``; the planned one where that is not known."""
        if self.hardware is not None and self.hardware.encoder == encoder:
            return self.hardware
        found = (each.rendition for each in self.options if each.rendition and each.option.name == option)
        return next(found, self.rendition)


COMPLETE = "complete"
"""Name of the last edition of every title: all that the plan holds."""


class Edition(Document):
    """One publication of a title: a set that can be played by itself. The next one holds more."""

    name: str
    """A word; the tasks that make the edition name it, and their results begin with it."""
    jobs: tuple[str, ...]
    """Names of all the jobs whose renditions it holds, those of the editions before it among them."""
    why: Literal["asked", "tier", "deadline"] | None = None
    """Whose wish it is: the request's, the tier's, or the deadline's; None for the complete set, which needs none."""
    message: str = ""
    """A sentence for people: why, and what it costs."""


class Plan(Document):
    """Result of the stage ``plan``: our decision for one title."""

    jobs: tuple[EncodeJob, ...]
    """Lowest rung first."""
    segment_frames: int
    """Length of a CMAF segment: whole GOPs, exact in frames."""
    frame_rate: str
    notes: tuple[str, ...] = ()
    """Why the plan is what it is, in sentences for the report."""
    editions: tuple[Edition, ...] = ()
    """What is published, one after the other; the last one is the complete set. None publishes that alone."""

    @property
    def early(self) -> tuple[Edition, ...]:
        """The editions before the complete one."""
        return self.editions[:-1]

    def early_edition(self, name: str) -> Edition | None:
        """The edition before the complete one that is called ``name``; None where the title does not get it."""
        return next((edition for edition in self.early if edition.name == name), None)

    def part(self, edition: str | None) -> Plan:
        """What makes an edition: the plan with its jobs alone. All of it for None, and for one that there is not."""
        found = self.early_edition(edition) if edition is not None else None
        if found is None:
            return self
        return self.model_copy(update={"jobs": tuple(job for job in self.jobs if job.name in found.jobs)})

    @property
    def earliest(self) -> Plan:
        """What makes the edition that goes out first: the complete set where there is no other."""
        return self.part(self.early[0].name if self.early else None)

    def left_out(self) -> tuple[str, ...]:
        """Jobs of the complete set that this part of the plan does not have: they follow with a later edition."""
        mine = {job.name for job in self.jobs}
        return tuple(name for edition in self.editions[-1:] for name in edition.jobs if name not in mine)

    def starts_after(self, editions: Collection[str]) -> dict[str, str | None]:
        """For each job the edition whose jobs end before it starts; None for a job that starts at once.

        Args:
            editions: Those that can be made at all.
        """
        early = [edition for edition in self.early if edition.name in editions]
        found: dict[str, str | None] = {}
        for edition, before in zip(early, [None, *early], strict=False):
            for name in edition.jobs:
                found.setdefault(name, before.name if before else None)
        last = early[-1].name if early else None
        for job in self.jobs:
            found.setdefault(job.name, last)
        return found

    @property
    def renditions(self) -> tuple[Rendition, ...]:
        """All renditions, lowest rung first."""
        return tuple(job.rendition for job in self.jobs)

    def features(self, source: SourceFeatures) -> tuple[EncodeFeatures, ...]:
        """What is known of each encode before it starts, in the order of the jobs."""
        return tuple(encode_features(source, rendition) for rendition in self.renditions)

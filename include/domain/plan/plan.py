"""What is to be encoded and how: rungs, recipes, the plan of a title and the job of each encode."""

from __future__ import annotations

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


class FirstSet(Document):
    """What of a title is published as a first version, and what follows as the next."""

    jobs: tuple[str, ...]
    """Names of the jobs of the first version; the others start when these have ended."""
    rest: tuple[str, ...]
    why: Literal["asked", "tier", "deadline"]
    """Whose wish it is: the request's, the tier's, or the deadline's."""
    message: str
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
    first: FirstSet | None = None
    """None publishes everything at once."""

    @property
    def of_first(self) -> Plan:
        """The part that makes the first version; the whole plan where there is none."""
        if self.first is None:
            return self
        names = set(self.first.jobs)
        return self.model_copy(update={"jobs": tuple(job for job in self.jobs if job.name in names)})

    @property
    def renditions(self) -> tuple[Rendition, ...]:
        """All renditions, lowest rung first."""
        return tuple(job.rendition for job in self.jobs)

    def features(self, source: SourceFeatures) -> tuple[EncodeFeatures, ...]:
        """What is known of each encode before it starts, in the order of the jobs."""
        return tuple(encode_features(source, rendition) for rendition in self.renditions)

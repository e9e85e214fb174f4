"""How a title ends: the verdict from what its tasks left behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from include.base.document import Document
from include.base.errors import ErrorDocument, Owner, Retry
from include.domain.media.media import Analysis, Inspection
from include.domain.outcome.results import CheckResult, EncodeResult, PackageResult
from include.domain.plan.degradation import Binding
from include.domain.plan.plan import Plan
from include.domain.title.title import State

DegradedReason = Literal["rendition_missing", "for_deadline"]

NO_WORD = ErrorDocument(
    type="TitleEndedBadly",
    message="the run ended before the title was published, and no task said why; the tasks' logs may",
    owner=Owner.PLATFORM,
    retry=Retry.TRANSIENT,
    reason="no_result",
)


class TaskFailure(Document):
    """The failure of a task (of one encode job, for a mapped one) that has no result."""

    task: str
    item: str | None = None
    error: ErrorDocument


UNEXPLAINED = TaskFailure(task="settle", error=NO_WORD)
"""Told of a title that came to nothing where no task has said why."""


class RunResults(Document):
    """What the run of a title has left: the results of its stages, as far as there are any."""

    source: Inspection | None = None
    analysis: Analysis | None = None
    plan: Plan | None = None
    renditions: tuple[EncodeResult, ...] = ()
    verdicts: CheckResult | None = None
    packaged: PackageResult | None = None
    """The whole set."""


class PublishedSet(Document):
    """A set of a title that was published: its version, and what it lacks."""

    version: int
    degraded: bool
    missing: tuple[str, ...] = ()
    """Rungs that the plan had and this set lacks."""
    given_up: tuple[Binding, ...] = ()
    """What this set lacks for its title's deadline."""


class Settlement(Document):
    """Result of the stage ``settle``: the final state, and the failure behind a bad one."""

    state: State
    reason: str | None = None
    message: str | None = None
    failure: TaskFailure | None = None


def settlement(
    *,
    whole: PublishedSet | None,
    early: PublishedSet | None = None,
    failures: Sequence[TaskFailure],
    superseded: bool = False,
    unexplained: TaskFailure = UNEXPLAINED,
) -> Settlement:
    """The final state of a title.

    Where an edition went out and the whole set came to nothing, it is degraded: what plays goes on playing.

    Args:
        whole: The whole set, if it was published.
        early: The latest edition before the whole set, if any was published.
        failures: Of tasks without a result, in the order of the pipeline.
        superseded: Whether a newer request of the title is published: this one will not be, any more.
        unexplained: The failure to tell of where no task has said anything.
    """
    if whole is not None:
        if not whole.degraded:
            return Settlement(state=State.PUBLISHED)
        return Settlement(state=State.DEGRADED, reason=why_degraded(whole), message=lacks(whole))
    cause = _cause(failures) or unexplained
    error = cause.error
    if error.type == "StaleRequest":
        state = State.CANCELLED
    elif early is not None and superseded:
        message = "its first version was published; a newer request was quicker than its whole set"
        return Settlement(state=State.CANCELLED, reason="superseded", message=message, failure=cause)
    elif early is not None:
        message = f"{lacks(early)}, which should have followed: {error.message}"
        return Settlement(state=State.DEGRADED, reason="rendition_missing", message=message, failure=cause)
    elif error.owner is Owner.SOURCE and error.retry is Retry.NEVER:
        state = State.REJECTED
    else:
        state = State.FAILED
    return Settlement(state=state, reason=error.reason or error.type, message=error.message, failure=cause)


def why_degraded(published: PublishedSet) -> DegradedReason:
    """Whether a degraded set lacks something that went wrong, or only what was given up on purpose."""
    dropped = {binding.rendition for binding in published.given_up if binding.dropped}
    return "for_deadline" if published.given_up and dropped >= set(published.missing) else "rendition_missing"


def lacks(published: PublishedSet) -> str:
    """What a degraded set lacks, in a sentence."""
    dropped = {binding.rendition for binding in published.given_up if binding.dropped}
    missing = [name for name in published.missing if name not in dropped]
    parts = [f"without {', '.join(missing)}"] if missing else []
    if published.given_up:
        told = "; ".join(f"{binding.rendition} {binding.what}" for binding in published.given_up)
        parts.append(f"to be in time: {told}")
    return f"published as v{published.version} {', and '.join(parts)}"


def _cause(failures: Sequence[TaskFailure]) -> TaskFailure | None:
    """The failure that explains the others: the source's first, then that of the task at which the title stopped.

    A missing core rung is told with the command and the words of the encode behind it.
    """
    at_source = [each for each in failures if each.error.owner is Owner.SOURCE and each.error.retry is Retry.NEVER]
    encodes = [each for each in failures if each.item is not None]
    stops = [each for each in failures if each.item is None and each.error.type != "MissingInput"]
    cause = next(iter([*at_source, *stops, *encodes, *failures]), None)
    if cause is None or cause.error.type != "CoreRungMissing" or not encodes:
        return cause
    encode = encodes[-1]
    told = {
        "message": f"{cause.error.message}; {encode.item}: {encode.error.message}",
        "command": encode.error.command,
        "stderr_tail": encode.error.stderr_tail,
    }
    return TaskFailure(task=encode.task, item=encode.item, error=cause.error.model_copy(update=told))

"""How a title ends: the verdict from what its tasks left behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from include.base.document import Document
from include.base.errors import ErrorDocument, Owner, Retry
from include.domain.outcome.results import PackageResult, PublishResult
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


class Settlement(Document):
    """Result of the stage ``settle``: the final state, and the failure behind a bad one."""

    state: State
    reason: str | None = None
    message: str | None = None
    failure: TaskFailure | None = None


def settlement(
    *,
    packaged: PackageResult | None,
    published: PublishResult | None,
    first_packaged: PackageResult | None = None,
    first_published: PublishResult | None = None,
    failures: Sequence[TaskFailure],
) -> Settlement:
    """The final state of a title.

    Where its first version went out and the whole set came to nothing, it is degraded: what plays goes on playing.

    Args:
        packaged: The whole set, if it was made.
        published: Its version, if it was published.
        first_packaged: The set of the first version, if one was made.
        first_published: The first version, if one was published.
        failures: Of tasks without a result, in the order of the pipeline.
    """
    if published is not None and packaged is not None:
        if not packaged.degraded:
            return Settlement(state=State.PUBLISHED)
        return Settlement(
            state=State.DEGRADED, reason=why_degraded(packaged), message=lacks(packaged, published.version)
        )
    cause = _cause(failures) or TaskFailure(task="settle", error=NO_WORD)
    error = cause.error
    if error.type == "StaleRequest":
        state = State.CANCELLED
    elif first_published is not None and first_packaged is not None:
        message = f"{lacks(first_packaged, first_published.version)}, which should have followed: {error.message}"
        return Settlement(state=State.DEGRADED, reason="rendition_missing", message=message, failure=cause)
    elif error.owner is Owner.SOURCE and error.retry is Retry.NEVER:
        state = State.REJECTED
    else:
        state = State.FAILED
    return Settlement(state=state, reason=error.reason or error.type, message=error.message, failure=cause)


def why_degraded(packaged: PackageResult) -> DegradedReason:
    """Whether a degraded set lacks something that went wrong, or only what was given up on purpose."""
    dropped = {each.rendition for each in packaged.given_up if each.dropped}
    return "for_deadline" if packaged.given_up and dropped >= set(packaged.missing) else "rendition_missing"


def lacks(packaged: PackageResult, version: int) -> str:
    """What a degraded set lacks, in a sentence."""
    dropped = {each.rendition for each in packaged.given_up if each.dropped}
    parts = [f"without {', '.join(missing)}"] if (missing := [n for n in packaged.missing if n not in dropped]) else []
    if packaged.given_up:
        told = "; ".join(f"{each.rendition} {each.what}" for each in packaged.given_up)
        parts.append(f"to be in time: {told}")
    return f"published as v{version} {', and '.join(parts)}"


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

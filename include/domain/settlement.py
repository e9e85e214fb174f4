"""How a title ends: the verdict from what its tasks left behind."""

from __future__ import annotations

from collections.abc import Sequence

from include.domain.document import Document
from include.domain.results import PackageResult, PublishResult
from include.domain.title import State
from include.errors import ErrorDocument, Owner, Retry


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
    *, packaged: PackageResult | None, published: PublishResult | None, failures: Sequence[TaskFailure]
) -> Settlement:
    """The final state of a title.

    Args:
        packaged: The set that was made, if one was.
        published: The version that was published, if one was.
        failures: Of tasks without a result, in the order of the pipeline.
    """
    if published is not None and packaged is not None:
        if not packaged.degraded:
            return Settlement(state=State.PUBLISHED)
        return Settlement(
            state=State.DEGRADED,
            reason="rendition_missing",
            message=f"published as v{published.version} without {', '.join(packaged.missing)}",
        )
    cause = _cause(failures)
    if cause is None:
        return Settlement(
            state=State.FAILED,
            reason="no_result",
            message="the run ended before the title was published, and no task said why; the tasks' logs may",
        )
    error = cause.error
    if error.type == "StaleRequest":
        state = State.CANCELLED
    elif error.owner is Owner.SOURCE and error.retry is Retry.NEVER:
        state = State.REJECTED
    else:
        state = State.FAILED
    return Settlement(state=state, reason=error.reason or error.type, message=error.message, failure=cause)


def _cause(failures: Sequence[TaskFailure]) -> TaskFailure | None:
    """The failure that explains the others: the source's first, then whatever is no mere consequence."""
    at_source = [each for each in failures if each.error.owner is Owner.SOURCE and each.error.retry is Retry.NEVER]
    own = [each for each in failures if each.error.type != "MissingInput"]
    return next(iter([*at_source, *own, *failures]), None)

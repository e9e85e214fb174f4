"""The last day in a few lines for the channel: what was published, what was late, what it cost, what is at risk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from include.base.document import Document
from include.domain.title.title import GOOD_STATES, State, Tier

DAY = timedelta(days=1)
SHOWN = 5
"""How many titles are named; of the rest the number is told."""


class Ended(Document):
    """A title that was settled."""

    name: str
    tier: Tier
    state: State
    publish_at: datetime | None
    playable_at: datetime | None

    @property
    def missed(self) -> bool:
        """Whether it had a deadline and was not playable by then."""
        return self.publish_at is not None and (self.playable_at is None or self.playable_at > self.publish_at)


class Due(Document):
    """A title that is to be published within the next day."""

    name: str
    tier: Tier
    publish_at: datetime
    miss_chance: float
    at_risk: bool


class Digest(Document):
    """One day's record."""

    since: datetime
    until: datetime
    published: int
    degraded: int
    rejected: int
    failed: int
    cancelled: int
    deadlines: int
    """Titles with a deadline that came to their end, cancelled ones left out."""
    missed: tuple[str, ...]
    cpu_h: float
    """Of the encodes."""
    due: int
    """Titles to be published within the next day."""
    at_risk: tuple[Due, ...]
    """The likeliest miss first."""

    @property
    def kept(self) -> float | None:
        """Share of deadlines kept, None without one."""
        return None if self.deadlines == 0 else 1 - len(self.missed) / self.deadlines


def digest_of(ended: Sequence[Ended], due: Sequence[Due], *, cpu_s: float, now: datetime) -> Digest:
    """The day that ends ``now``.

    Args:
        ended: Titles that were settled in it.
        due: Open titles with a deadline.
        cpu_s: CPU seconds of the encodes that finished in it.
        now: Its end.
    """
    counted = {state: sum(title.state is state for title in ended) for state in State}
    with_deadline = [title for title in ended if title.publish_at is not None and title.state is not State.CANCELLED]
    today = [title for title in due if now <= title.publish_at < now + DAY]
    return Digest(
        since=now - DAY,
        until=now,
        published=sum(counted[state] for state in GOOD_STATES),
        degraded=counted[State.DEGRADED],
        rejected=counted[State.REJECTED],
        failed=counted[State.FAILED],
        cancelled=counted[State.CANCELLED],
        deadlines=len(with_deadline),
        missed=tuple(title.name for title in with_deadline if title.missed),
        cpu_h=round(cpu_s / 3600, 2),
        due=len(today),
        at_risk=tuple(sorted((title for title in today if title.at_risk), key=lambda title: -title.miss_chance)),
    )


def lines(digest: Digest) -> list[str]:
    """The digest as lines of text. The names in them come from the CMS and have to be escaped by the sender."""
    parts = [f"{digest.published} published"]
    parts += [f"{digest.degraded} of them degraded"] if digest.degraded else []
    parts += [
        f"{number} {what}"
        for number, what in ((digest.failed, "failed"), (digest.rejected, "rejected"), (digest.cancelled, "cancelled"))
        if number
    ]
    said = [f"{', '.join(parts)}; {digest.cpu_h:g} CPU hours of encoding"]
    if digest.kept is not None:
        late = f": missed {_named(digest.missed)}" if digest.missed else ""
        kept = digest.deadlines - len(digest.missed)
        said.append(f"{kept} of {digest.deadlines} deadlines kept ({digest.kept:.1%}){late}")
    if digest.due:
        shown = [f"{title.name} ({title.publish_at:%H:%M} UTC, {title.miss_chance:.0%})" for title in digest.at_risk]
        risk = f", at risk: {_named(shown)}" if shown else ", none at risk"
        said.append(f"{digest.due} due within a day{risk}")
    return said


def _named(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")

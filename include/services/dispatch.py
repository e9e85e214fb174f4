"""What happens between Airflow's tasks: titles are released, misses noted, alerts and webhooks sent, lost runs settled.

Every function here is safe to call at any time, from any number of processes: intake and settle call them at once, and
the DAG ``dispatch`` each minute.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from include.adapters.airflow_api import AirflowApi, DagUnknown, RequestRefused
from include.base.errors import CallsheetError, ErrorDocument, Owner, PlatformUnavailable, Retry
from include.domain.order.admission import Verdict
from include.domain.title.title import State, Tier

if TYPE_CHECKING:
    from include.adapters.catalog import Catalog, TitleRecord
    from include.adapters.catalog.records import RepairKind
    from include.base.settings import Settings
    from include.domain.order.valuation import Valuation
    from include.domain.title.title import TitleJob

log = logging.getLogger(__name__)

LOST_AFTER = timedelta(minutes=5)
"""A run that has ended in Airflow and is not settled after this long will not settle itself."""
LOOK_AGAIN_AFTER = timedelta(seconds=30)
"""For a mezzanine that has not arrived yet. Until then its title takes no place in the release window."""
EXPRESS_SHARE = 4
"""One place in so many is there beyond the window, for a title that goes before all that have one."""
WEBHOOKS_AT_ONCE = 200
NOTE_LIMIT = 600
MOST_OF_A_NOTE = 980
"""Airflow takes 1,000 characters of a note."""
REPAIRS_AT_ONCE = 5


@dataclass(frozen=True, kw_only=True)
class Released:
    """What one call of :func:`release` did."""

    started: tuple[str, ...] = ()
    not_ready: tuple[str, ...] = ()
    """Titles whose batch DAG Airflow has not parsed yet, or cannot parse: given back, to be tried again."""


def release(catalog: Catalog, api: AirflowApi, settings: Settings, *, now: datetime) -> Released:
    """Start runs for waiting titles, up to the release window, the highest priority first.

    A title of a higher priority than every one that has a run may go beyond the window, by a quarter at most: it does
    not wait until one of them has ended.

    A batch whose DAG Airflow does not have yet, or cannot parse, is passed over and holds up no other.
    """
    from include.adapters.mezzanine import has_arrived

    started: list[str] = []
    not_ready: dict[str, list[str]] = {}
    claimant = f"{socket.gethostname()}:{os.getpid()}:{time.monotonic_ns()}"
    while claimed := catalog.claim(
        window=settings.release_window,
        express=max(1, settings.release_window // EXPRESS_SHARE),
        now=now,
        claimant=claimant,
        except_batches=not_ready.keys(),
    ):
        try:
            for title in claimed:
                wait_until = title.request.wait_until
                if wait_until and now < wait_until and not has_arrived(title.request.mezzanine, settings, now=now):
                    until = min(wait_until, now + LOOK_AGAIN_AFTER)
                    catalog.unclaim(title.request_id, claimant=claimant, until=until)
                elif title.batch_id in not_ready or not _start(catalog, api, title, claimant=claimant, now=now):
                    catalog.unclaim(title.request_id, claimant=claimant)
                    not_ready.setdefault(title.batch_id, []).append(title.request_id)
                else:
                    started.append(title.request_id)
        except BaseException:
            # Otherwise they would keep their places in the window until the claim expires.
            for title in claimed:
                catalog.unclaim(title.request_id, claimant=claimant)
            raise
    return Released(started=tuple(started), not_ready=tuple(each for batch in not_ready.values() for each in batch))


def _start(catalog: Catalog, api: AirflowApi, title: TitleRecord, *, claimant: str, now: datetime) -> bool:
    """Start the run of a claimed title; False where Airflow does not have its DAG, or cannot parse it any more."""
    assert title.run_id is not None  # set by the claim
    try:
        api.trigger(title.dag_id, title.run_id, conf=run_conf(title), logical_date=arrival(title))
    except DagUnknown:
        return False
    except RequestRefused as error:
        log.error("%s cannot be released and is passed over: %s", title.request_id, error)
        return False
    catalog.mark_released(title.request_id, claimant=claimant, run_id=title.run_id, now=now)
    log.info("released %s as run %s", title.request_id, title.run_id)
    try:
        api.note(title.dag_id, title.run_id, run_note(catalog.title(title.request_id) or title))
    except CallsheetError as error:  # a note is for people: the title runs without
        log.warning("%s: its run has no note: %s", title.request_id, error)
    return True


def arrival(title: TitleRecord) -> datetime:
    """The logical date of a title's run: tasks of one weight go by it in Airflow, in no order at all without one.

    The titles of a batch were entered in one moment, and Airflow wants each date once in a DAG: microseconds tell them
    apart, less than a second of them.
    """
    return title.created_at + timedelta(microseconds=title.seq % 1_000_000)


def run_conf(title: TitleRecord) -> dict[str, object]:
    """The conf of a title's run: ids, and what the weights and the deadline are read from."""
    return {
        "request_id": title.request_id,
        "tier": title.request.tier.value,
        "priority": title.priority,
        "slots": title.valuation.slots if title.valuation else None,
        "publish_at": title.deadline.isoformat() if title.deadline else None,
    }


def release_when_parsed(
    catalog: Catalog,
    api: AirflowApi,
    settings: Settings,
    *,
    patience_s: float,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    pause: Callable[[float], None] = time.sleep,
) -> Released:
    """:func:`release`, repeated while new batch DAGs are not parsed yet, for at most ``patience_s`` seconds."""
    started: list[str] = []
    end = time.monotonic() + patience_s
    while True:
        done = release(catalog, api, settings, now=clock())
        started += done.started
        if not done.not_ready or time.monotonic() > end:
            return Released(started=tuple(started), not_ready=done.not_ready)
        pause(0.5)


def note_missed(catalog: Catalog, title: TitleRecord, *, now: datetime) -> bool:
    """Enter a missed deadline in the alert ledger; True if this call was the one that did.

    A title that was published in time, that failed (its failure has an alert of its own) or that was cancelled has
    missed nothing.
    """
    if title.deadline is None or title.deadline > now:
        return False
    if title.state in {State.FAILED, State.REJECTED, State.CANCELLED}:
        return False
    if title.playable_at is not None and title.playable_at <= title.deadline:
        return False
    where = f"in task {title.task}" if title.task else f"still {title.state}"
    return catalog.claim_alert(
        title_id=title.title_id,
        request_id=title.request_id,
        level="missed",
        cause="deadline",
        message=f"was due at {title.deadline:%Y-%m-%d %H:%M:%S} UTC and is not published: {where}",
        now=now,
    )


def note_at_risk(catalog: Catalog, valuations: Mapping[str, Valuation], *, now: datetime) -> list[str]:
    """Enter an alert for each title that will probably miss its deadline, once; returns their requests.

    A premium title is also told of when only giving up quality keeps its deadline: its quality is never sacrificed
    silently.
    """
    told: list[str] = []
    for title in catalog.endangered(now):
        valuation = valuations.get(title.request_id)
        if valuation is None or not valuation.at_risk or title.deadline is None:
            continue
        quote = valuation.admission
        if quote.verdict is Verdict.FEASIBLE_DEGRADED and title.request.tier is not Tier.PREMIUM:
            continue
        queue = quote.wait.p50_s > valuation.remaining.p50_s
        own_min = valuation.remaining.p50_s / 60
        done = "its encodes give up quality as far as its tier allows"
        if quote.verdict is Verdict.FEASIBLE_DEGRADED:
            done = "kept by giving up quality; it is encoded in full afterwards"
        message = (
            f"due at {title.deadline:%Y-%m-%d %H:%M:%S} UTC, expected at {quote.finish_p50:%Y-%m-%d %H:%M:%S} "
            f"(p90 {quote.finish_p90:%H:%M:%S}), chance of a miss {quote.miss_chance or 0:.0%}: "
            f"{valuation.ahead} titles go before it, {own_min:.0f} min of work of its own; {done}"
        )
        if catalog.claim_alert(
            title_id=title.title_id,
            request_id=title.request_id,
            level="at_risk",
            cause="queue ahead" if queue else "too little time",
            message=message,
            now=now,
        ):
            told.append(title.request_id)
    return told


def note_overdue(catalog: Catalog, *, now: datetime) -> list[str]:
    """The sweep: misses of all titles, those that never got a run among them."""
    return [title.request_id for title in catalog.overdue(now) if note_missed(catalog, title, now=now)]


def send_alerts(catalog: Catalog, settings: Settings, *, now: datetime) -> int:
    """Send what stands in the alert ledger to Slack."""
    from include.adapters import slack

    return slack.send_alerts(catalog, settings, now)


def send_webhooks(catalog: Catalog, settings: Settings, *, now: datetime) -> None:
    """Deliver what is due in the outbox."""
    from include.adapters import webhooks

    webhooks.deliver(catalog, settings, now, limit=WEBHOOKS_AT_ONCE)


def settle_lost_runs(catalog: Catalog, api: AirflowApi, settings: Settings, *, now: datetime) -> list[str]:
    """Settle titles whose run has ended, or vanished, without its last task: nothing stays running for ever."""
    lost: list[str] = []
    for title in catalog.titles(states={State.QUEUED, State.RUNNING, State.PLAYABLE}):
        since = title.released_at or title.created_at
        if title.run_id is None or _is_recent(since, now):
            continue
        run = api.run(title.dag_id, title.run_id)
        if run is not None and run["state"] not in {"success", "failed"}:
            continue
        if run is not None and run["end_date"] and _is_recent(datetime.fromisoformat(run["end_date"]), now):
            continue
        if _completed(catalog, settings, title) or title.state is State.PLAYABLE:
            if _settle_published(catalog, settings, title, now=now):
                lost.append(title.request_id)
            continue
        how = "has vanished from Airflow" if run is None else f"ended as {run['state']}"
        message = f"the run {title.run_id} {how} without settling the title"
        error = ErrorDocument(
            type="RunLost", message=message, owner=Owner.PLATFORM, retry=Retry.TRANSIENT, reason="run_lost"
        )
        replay = f"callsheet replay {title.request_id}"
        # The end comes last: a sweep that dies in between is repeated, a settled title is not looked at again.
        catalog.record_dead_letter(title.request_id, error=error, task=title.task, replay_command=replay, now=now)
        catalog.claim_alert(
            title_id=title.title_id,
            request_id=title.request_id,
            level="failed",
            cause="run_lost",
            message=message,
            now=now,
        )
        if catalog.settle(title.request_id, State.FAILED, reason="run_lost", message=message, now=now):
            lost.append(title.request_id)
    return lost


def _is_recent(moment: datetime, now: datetime) -> bool:
    """Whether a moment lies less than ``LOST_AFTER`` back.

    One in the future comes from another machine's clock: it tells nothing, and waiting for it may take hours.
    """
    return timedelta(0) <= now - moment < LOST_AFTER


def _completed(catalog: Catalog, settings: Settings, title: TitleRecord) -> bool:
    """Tell the catalog of publications that died between pointer and catalog; False where players see another set."""
    from include.adapters.store.store import open_store
    from include.domain.outcome.results import PackageResult
    from include.pipelines.runner import load_result
    from include.stages.core import ControlContext
    from include.stages.publish import is_current, make_current

    job, store = title.job(), open_store(settings)
    context = ControlContext(settings=settings, store=store, title=job, scratch=settings.scratch, catalog=catalog)
    for stage, whole in (("first_package", False), ("package", True)):
        if catalog.is_published(title.request_id, whole=whole):
            continue
        packaged = load_result(job, stage, PackageResult, store) if is_current(store, job, whole=whole) else None
        if isinstance(packaged, PackageResult):
            make_current(context, job, packaged)
            return True
    return False


def _settle_published(catalog: Catalog, settings: Settings, title: TitleRecord, *, now: datetime) -> bool:
    """Settle a title whose run was lost after its set had gone out: it is published, whatever became of the run."""
    from include.adapters.store.documents import load_if_whole
    from include.adapters.store.store import open_store
    from include.domain.outcome.results import PackageResult
    from include.domain.outcome.settlement import lacks, why_degraded
    from include.pipelines.runner import result_key

    version = catalog.current_version(title.title_id)
    if version is None or version.request_id != title.request_id or (version.whole and not version.degraded):
        if catalog.is_published(title.request_id, whole=True):
            return catalog.settle(title.request_id, State.PUBLISHED, now=now)
        message = "its first version was published; a newer request was quicker than its whole set"
        return catalog.settle(title.request_id, State.CANCELLED, reason="superseded", message=message, now=now)
    reason, message = "rendition_missing", f"published as v{version.version} without {', '.join(version.missing)}"
    packaged = load_if_whole(open_store(settings), result_key(title.job(), "package"), PackageResult)
    if packaged is not None and version.whole:
        reason, message = why_degraded(packaged), lacks(packaged, version.version)
    if not title.is_repair:
        kind: RepairKind = "backfill" if reason == "for_deadline" else "repair"
        catalog.queue_repair(title.request_id, version.missing, now, kind=kind)
    return catalog.settle(title.request_id, State.DEGRADED, reason=reason, message=message, now=now)


def after_settling(catalog: Catalog, settings: Settings, title: TitleJob) -> None:
    """What follows a settled title at once. None of it can fail the title: ``dispatch`` repeats all but the note."""
    now = datetime.now(UTC)
    steps: dict[str, Callable[[], object]] = {
        "release": lambda: _release_next(catalog, settings, now),
        "note": lambda: _put_note(catalog, title),
        "alerts": lambda: send_alerts(catalog, settings, now=now),
        "webhooks": lambda: send_webhooks(catalog, settings, now=now),
    }
    for name, step in steps.items():
        try:
            step()
        except Exception:
            log.exception("%s: %s after settling failed", title.request_id, name)


def run_note(title: TitleRecord) -> str:
    """What an operator reads beside a title's run in Airflow's UI (Markdown)."""
    first = f"**{title.state}** {_as_code(title.request.name or title.title_id)}"
    if title.version is not None:
        # The run's page shows the first line alone.
        links = {"Preview": title.preview, "HLS": title.hls, "DASH": title.dash}
        shown = " · ".join(f"[{name}]({address})" for name, address in links.items() if address)
        first += f" v{title.version} · {shown}"
    lines = [first]
    if title.message:
        lines.append(_as_code(title.message))
    if title.state in {State.FAILED, State.REJECTED}:
        lines.append(f"again: `callsheet replay {title.request_id}`")
    if title.valuation is not None:
        for said in (f"score {title.valuation.score}", f"priority {title.valuation.priority}"):
            if sum(map(len, lines)) + len(said) < MOST_OF_A_NOTE:
                lines.append(said)
    return "\n\n".join(lines)


def _as_code(text: str) -> str:
    """Text of foreign origin as code: no link and no markup of it comes to life."""
    return "`" + text.replace("`", "'").replace("\n", " ")[:NOTE_LIMIT] + "`"


def _put_note(catalog: Catalog, job: TitleJob) -> None:
    title = catalog.title(job.request_id)
    if title is not None and title.run_id is not None:
        with AirflowApi.from_connection() as api:
            api.note(title.dag_id, title.run_id, run_note(title))


def _release_next(catalog: Catalog, settings: Settings, now: datetime) -> None:
    with AirflowApi.from_connection() as api:
        release(catalog, api, settings, now=now)


def tick() -> dict[str, str]:
    """Every step of the DAG ``dispatch``; returns what each one did. Raises at the end if any step failed."""
    from include.adapters.catalog import Catalog
    from include.base.settings import load_settings
    from include.services.replay import take_backfills, take_repairs
    from include.services.steering import stop_cancelled
    from include.services.valuation import revalue

    settings = load_settings()
    catalog = Catalog(settings.catalog_url)
    now = datetime.now(UTC)
    said: dict[str, str] = {}
    failed: list[str] = []
    with AirflowApi.from_connection() as api:
        steps: dict[str, Callable[[], object]] = {
            "lost runs": lambda: settle_lost_runs(catalog, api, settings, now=now),
            "repairs": lambda: take_repairs(catalog, settings, now=now, limit=REPAIRS_AT_ONCE),
            "back-fills": lambda: take_backfills(catalog, settings, now=now),
            "values": lambda: note_at_risk(catalog, revalue(catalog, settings, now=now), now=now),
            "weights": api.tell_weights,
            "cancelled": lambda: stop_cancelled(catalog, api, now=now),
            "release": lambda: release(catalog, api, settings, now=now),
            "overdue": lambda: note_overdue(catalog, now=now),
            "alerts": lambda: send_alerts(catalog, settings, now=now),
            "webhooks": lambda: send_webhooks(catalog, settings, now=now),
        }
        if settings.runtime == "kubernetes":
            from include.orchestration.runtimes.kubernetes.pods import sweep_pods

            steps["pods"] = lambda: sweep_pods(api, settings, now=now)
        for name, step in steps.items():
            try:
                said[name] = str(step())
            except Exception as error:
                log.exception("%s failed", name)
                said[name] = f"failed: {error}"
                failed.append(name)
    if failed:
        raise PlatformUnavailable(f"steps that failed and are tried again in a minute: {', '.join(failed)}")
    return said

"""What the DAG ``intake`` does: a request into the catalog, and the first titles on their way."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from include.adapters.addresses import check_address
from include.adapters.airflow_api import AirflowApi
from include.adapters.arrival import Found
from include.adapters.catalog import Catalog
from include.adapters.fetching import shown_address
from include.base.errors import RequestRejected
from include.base.faults import shown
from include.base.settings import Settings, load_settings
from include.base.text import origin_of
from include.domain.title.request import ParsedBatch, Refusal, parse_batch
from include.pipelines.core import current_pipelines
from include.services.arrivals import look_at_all
from include.services.headers import look_at_headers
from include.services.quotes import Quote, quote_batch
from include.services.release import release_when_parsed
from include.services.sending import send_webhooks
from include.services.valuation import value_batch

log = logging.getLogger(__name__)

PARSE_PATIENCE_S = 30.0
"""A new batch's DAG is usually there within 2 s; ``dispatch`` takes over after this long."""
LOOKS_AT_ONCE = 16
LOOKS_LIMIT_S = 4.0
"""For the looks at all mezzanines of a request: its sender waits for the answer."""


def accept_request(conf: Any, *, user: str | None) -> str:
    """Enter a batch request in the catalog; returns its batch id. The same request again changes nothing.

    Args:
        conf: The request.
        user: Who posts it, by the name that Airflow knows them by; None where Airflow does not say.

    Raises :class:`RequestRejected` that names field, value and reason of a request that is wholly bad, and
    :class:`BatchConflict` where its id is known with other content.
    """
    settings = load_settings()
    catalog = Catalog(settings.catalog_url)
    pipelines = current_pipelines()
    batch = parse_batch(conf, pipelines=frozenset(pipelines))
    _check_callback(batch, settings)
    now = datetime.now(UTC)
    tenant = settings.tenant_of(user)
    arrived: list[str] = []
    # A batch that is known already was looked at when it came.
    if catalog.batches.check_new(batch):
        batch, arrived = _looked_at(catalog.batches.as_accepted(batch, tenant=tenant), settings, now=now)
    valued = value_batch(batch, catalog, settings, now=now)
    version = pipelines[batch.pipeline].version
    new = catalog.batches.accept(
        batch, pipeline_version=version, now=now, valued=valued, arrived=arrived, tenant=tenant
    )
    for refusal in batch.refusals:
        log.warning("batch %s: refused %s", batch.batch_id, refusal)
    log.info(
        "batch %s: %s, %d titles accepted, %d refusals",
        batch.batch_id,
        "new" if new else "known already, nothing changes",
        len(batch.titles),
        len(batch.refusals),
    )
    for title_id, (_, valuation) in valued.items() if new else ():
        log.info("%s: score %s; priority %s; %s", title_id, valuation.score, valuation.priority, valuation.admission)
    return batch.batch_id


def quote_request(conf: Any, catalog: Catalog, settings: Settings, *, user: str | None, now: datetime) -> Quote:
    """What a batch request would come to, entered now; changes nothing. Its mezzanines need not be there yet.

    Raises :class:`RequestRejected` and :class:`BatchConflict` as :func:`accept_request` refuses it.
    """
    batch = parse_batch(conf, pipelines=frozenset(current_pipelines()))
    _check_callback(batch, settings)
    batch = catalog.batches.as_accepted(batch, tenant=settings.tenant_of(user))
    return quote_batch(batch, catalog, settings, now=now)


def release_batch(batch_id: str) -> None:
    """Tell the CMS what was accepted and release what there is room for, waiting for the batch's DAG to be parsed.

    Then headers of mezzanines say how long the titles will take whose request does not tell their length and size.
    """
    settings = load_settings()
    catalog = Catalog(settings.catalog_url)
    send_webhooks(catalog, settings, now=datetime.now(UTC))
    with AirflowApi.from_connection() as api:
        done = release_when_parsed(catalog, api, settings, patience_s=PARSE_PATIENCE_S)
    if done.not_ready:
        log.warning("batch %s: its DAG is not parsed yet; dispatch releases its titles when it is", batch_id)
    look_at_headers(catalog, settings, batch_id=batch_id)


def _looked_at(batch: ParsedBatch, settings: Settings, *, now: datetime) -> tuple[ParsedBatch, list[str]]:
    """The batch without the titles whose mezzanine cannot be had, and the titles whose mezzanine was seen.

    What did not answer in time is accepted: its worker asks again, and may be let in where this process is not.

    Raises :class:`RequestRejected` where no title is left.
    """
    mezzanines = {title.title_id: title.mezzanine for title in batch.titles}
    looks = look_at_all(mezzanines, settings, now=now, at_once=LOOKS_AT_ONCE, limit_s=LOOKS_LIMIT_S)
    refusals: dict[str, Refusal] = {}
    for title in batch.titles:
        look = looks.get(title.title_id)
        waits = title.wait_until is not None and title.wait_until > now
        if look and (look.found is Found.REFUSED or (look.found is Found.MISSING and not waits)):
            value = shown(shown_address(title.mezzanine))
            refusals[title.title_id] = Refusal(
                index=0, title_id=title.title_id, field="mezzanine", value=value, reason=look.said
            )
    return batch.without(refusals), [title_id for title_id, look in looks.items() if look.arrived]


def _check_callback(batch: ParsedBatch, settings: Settings) -> None:
    if batch.callback_url is None:
        return
    if not settings.webhook_keys:
        raise RequestRejected(
            "callback_url: this deployment signs no webhooks; set CALLSHEET_WEBHOOK_SECRET "
            f"(got {origin_of(batch.callback_url)!a})",
            reason="webhooks_off",
        )
    check_address(batch.callback_url, settings)

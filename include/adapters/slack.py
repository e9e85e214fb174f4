"""Sends the alert ledger to a Slack channel, through the connection of Airflow's Slack provider."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from include.adapters.airflow_api import ui_base_url
from include.adapters.catalog import Catalog
from include.base.errors import ConfigurationError
from include.base.settings import TellingSettings
from include.domain.telling.alerts import Alert, AlertLevel, Message, group
from include.domain.telling.digest import Digest, lines

if TYPE_CHECKING:
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook

log = logging.getLogger(__name__)

AT_ONCE = 500
CLAIM_TTL_S = 300
TIMEOUT_S = 10
SHOWN_TITLES = 10
"""Titles named in a message about many: Slack takes 50 blocks."""
SHOWN_NAME = 100
SHOWN_TEXT = 500
"""Escaping makes at most five characters of one, and Slack refuses a section of more than 3,000."""

_HEADLINES: dict[AlertLevel, tuple[str, str]] = {
    "failed": (":red_circle:", "failed"),
    "missed": (":alarm_clock:", "missed the deadline"),
    "at_risk": (":hourglass:", "may miss the deadline"),
    "degraded": (":large_yellow_circle:", "published as degraded"),
    "rejected": (":no_entry:", "rejected"),
    "repair": (":wrench:", "could not be repaired"),
    "proof": (":mag:", "is published with a wrong rendition"),
}
_ADVICE: dict[AlertLevel, str] = {
    "failed": "Remove the cause, then",
    "missed": "It goes on; see the run for where it stands.",
    "at_risk": "Make room (`callsheet pin`, `hold` others, more slots), or move it: `callsheet reschedule`.",
    "degraded": "It plays. The missing renditions are queued for repair.",
    "rejected": "Have the mezzanine corrected, then submit it again or",
    "repair": "It plays as it is. Remove the cause, then",
    "proof": "It plays. The title is encoded again, unless this was a repair already: then look for the cause.",
}
_FOR_DEADLINE = "It plays, in time and above its tier's floor. It is encoded in full when the farm is idle."
_REPLAYED: frozenset[AlertLevel] = frozenset({"failed", "rejected", "repair"})


def send_alerts(catalog: Catalog, settings: TellingSettings, now: datetime) -> int:
    """Send the alerts that are due, in groups by cause; how many went out.

    Without the connection the alerts stay in the ledger, for when there is one.
    """
    alerts = catalog.alerts.claim_due(now, AT_ONCE, CLAIM_TTL_S)
    if not alerts:
        return 0
    try:
        hook = _hook(settings.slack_conn_id)
    except ConfigurationError as error:
        log.warning("%d alerts are waiting: %s", len(alerts), error.message)
        catalog.alerts.failed([alert.id for alert in alerts], error.message, now)
        return 0
    base_url = ui_base_url(settings)
    sent = 0
    for message in group(alerts):
        ids = [alert.id for alert in message.alerts]
        try:
            hook.send(text=headline(message), blocks=blocks(message, base_url), unfurl_links=False, unfurl_media=False)
        except Exception as error:
            # Whatever it is, the alert stays in the ledger. Its type alone: the text may hold the webhook's address,
            # which is a secret.
            log.warning("Slack did not take an alert about %s: %s", message.cause, type(error).__name__)
            catalog.alerts.failed(ids, type(error).__name__, now)
            continue
        catalog.alerts.sent(ids, now)
        sent += len(ids)
    return sent


def send_digest(digest: Digest, settings: TellingSettings) -> bool:
    """Send the day's digest. False where there is no channel; what Slack refuses is raised."""
    try:
        hook = _hook(settings.slack_conn_id)
    except ConfigurationError as error:
        log.warning("the digest stays here: %s", error.message)
        return False
    title = f":clapper: *Callsheet, the day until {digest.until:%Y-%m-%d %H:%M} UTC*"
    text = "\n".join([title, *(f"• {_escape(line)}" for line in lines(digest))])
    hook.send(text=title, blocks=[_section(text)], unfurl_links=False, unfurl_media=False)
    return True


def headline(message: Message) -> str:
    """What happened, in one line of Slack's markup."""
    mark, what = _HEADLINES[message.level]
    if len(message.alerts) == 1:
        return f"{mark} *{_name(message.alerts[0])}* {what}"
    return f"{mark} *{len(message.alerts)} titles* {what}: {_escape(message.cause[:SHOWN_NAME])}"


def blocks(message: Message, airflow_url: str) -> list[dict[str, Any]]:
    """The message in Slack's blocks: what happened, whose it is, what to do, and where to look."""
    first = message.alerts[0]
    single = len(message.alerts) == 1
    shown = () if single else message.alerts[:SHOWN_TITLES]
    hidden = 0 if single else len(message.alerts) - len(shown)
    facts = [f"*Cause:* {_escape(message.cause[:SHOWN_NAME])}"]
    facts += [f"*Owner:* {_escape(first.owner)}"] if first.owner else []
    facts += [f"*Due:* {first.publish_at:%Y-%m-%d %H:%M} UTC"] if single and first.publish_at else []
    facts += [f"*Request:* {_escape(first.request_id)}{_links(first, airflow_url)}"] if single else []
    return [
        _section(f"{headline(message)}\n{_quoted(first.message if single else f'the first: {first.message}')}"),
        *(_section(f"• {_name(alert)}{_links(alert, airflow_url)}") for alert in shown),
        *([_section(f"… and {hidden} more")] if hidden else []),
        _section(_advice(message)),
        {"type": "context", "elements": [_markup("  ·  ".join(facts))]},
    ]


def _advice(message: Message) -> str:
    advice = _FOR_DEADLINE if message.cause == "for_deadline" else _ADVICE[message.level]
    if message.level not in _REPLAYED:
        return advice
    commands = [
        _escape(alert.replay_command or f"callsheet replay {alert.request_id}")
        for alert in message.alerts[:SHOWN_TITLES]
    ]
    return f"{advice}\n```{chr(10).join(commands)}```"


def _links(alert: Alert, airflow_url: str) -> str:
    found = ""
    if alert.run_id and airflow_url:
        found += f"  <{_escape(airflow_url)}/dags/{alert.dag_id}/runs/{alert.run_id}|run>"
    if alert.preview and alert.preview.startswith(("https://", "http://")):
        found += f"  <{_escape(alert.preview)}|preview>"
    return found


def _name(alert: Alert) -> str:
    return _escape((alert.name or alert.title_id)[:SHOWN_NAME])


def _quoted(text: str) -> str:
    return "\n".join(f">{line}" for line in _escape(text[:SHOWN_TEXT]).splitlines())


def _escape(text: str) -> str:
    """Slack's three control characters: without them a name can neither link nor call the whole channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _markup(text)}


def _markup(text: str) -> dict[str, Any]:
    # verbatim: bare addresses in what others wrote do not become links.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _hook(connection_id: str) -> SlackWebhookHook:
    from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook
    from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError

    hook = SlackWebhookHook(slack_webhook_conn_id=connection_id, timeout=TIMEOUT_S)
    try:
        hook.get_conn()
    except (AirflowException, AirflowRuntimeError) as error:
        raise ConfigurationError(
            f"the Airflow connection {connection_id} does not exist or has no webhook token "
            "(type slackwebhook, see airflow_settings.yaml)"
        ) from error
    return hook

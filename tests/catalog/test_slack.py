"""The provider's own hook, against a local receiver in Slack's place."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from include.adapters.catalog import Catalog
from include.adapters.slack import send_alerts, send_digest
from include.base.errors import EncoderCrashed
from include.base.settings import Settings
from include.domain.telling.alerts import GATHER, AlertLevel
from include.domain.telling.digest import Ended, digest_of
from include.domain.title.title import State, Tier
from tests.catalog.samples import NOW, accept, after, publish, start
from tests.receivers import Receiver

TOKEN = "T000/B000/secretword"


@pytest.fixture(scope="module", autouse=True)
def _airflow_of_our_own(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Airflow writes its configuration where it first looks for it: not into a person's home."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW_HOME", str(tmp_path_factory.mktemp("airflow")))
        yield


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, airflow_base_url="https://airflow.example/")


@pytest.fixture
def channel(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    connection = {"conn_type": "slackwebhook", "password": f"{receiver.origin}/services/{TOKEN}"}
    monkeypatch.setenv("AIRFLOW_CONN_CALLSHEET_SLACK", json.dumps(connection))
    return receiver


def alert(
    catalog: Catalog, title_id: str = "alpha", *, level: AlertLevel = "failed", message: str = "x264 fell over"
) -> None:
    assert catalog.alerts.enter(
        title_id=title_id,
        request_id=f"spring/{title_id}",
        level=level,
        cause="EncoderCrashed",
        message=message,
        now=NOW,
    )


def shown(receiver: Receiver, index: int = 0) -> str:
    """All text of a message, in order."""
    body = receiver.requests[index].json
    texts = [block["text"] if block["type"] == "section" else block["elements"][0] for block in body["blocks"]]
    assert all(text["type"] == "mrkdwn" and text["verbatim"] and len(text["text"]) <= 3000 for text in texts)
    return "\n".join(text["text"] for text in texts)


def test_an_alert_says_what_happened_whose_it_is_what_to_do_and_where_to_look(
    catalog: Catalog, settings: Settings, channel: Receiver
) -> None:
    accept(catalog, name="Alpha, the movie", publish_at=after(600).isoformat())
    start(catalog, "spring/alpha")
    publish(catalog, "spring/alpha")
    error = EncoderCrashed("x264 fell over", command="ffmpeg", stderr_tail="").document()
    catalog.history.record_dead_letter(
        "spring/alpha", error=error, task="encode", replay_command="callsheet replay spring/alpha", now=NOW
    )
    alert(catalog)
    assert send_alerts(catalog, settings, NOW) == 1
    (received,) = channel.requests
    assert received.path == f"/services/{TOKEN}"
    assert received.json["text"] == ":red_circle: *Alpha, the movie* failed"
    text = shown(channel)
    for expected in (
        "*Alpha, the movie* failed",
        ">x264 fell over",
        "*Owner:* encoder",
        "```callsheet replay spring/alpha```",
        "*Cause:* EncoderCrashed",
        "*Due:* 2026-03-01 12:10 UTC",
        "<https://airflow.example/dags/batch__spring/runs/alpha__1|run>",
        "<https://cdn.example/titles/alpha/v1/preview.html|preview>",
    ):
        assert expected in text
    assert send_alerts(catalog, settings, after(3600)) == 0, "once"


def test_many_titles_of_one_cause_are_one_message(catalog: Catalog, settings: Settings, channel: Receiver) -> None:
    titles = [f"t{number:02}" for number in range(14)]
    accept(catalog, "spring", *titles)
    for title in titles:
        alert(catalog, title)
    assert send_alerts(catalog, settings, NOW) == 2
    assert send_alerts(catalog, settings, NOW + GATHER) == 12
    assert len(channel.requests) == 3
    text = shown(channel, 2)
    assert "*12 titles* failed: EncoderCrashed" in text
    assert "• t02" in text
    assert "• t11" in text
    assert "• t12" not in text
    assert "… and 2 more" in text
    assert text.count("callsheet replay spring/") == 10


def test_a_hostile_name_can_neither_call_the_channel_nor_link(
    catalog: Catalog, settings: Settings, channel: Receiver
) -> None:
    accept(catalog, name="<!channel> & <https://evil.example|click> " + "<" * 250)
    alert(catalog, message="<!here> " + "<" * 5000)
    assert send_alerts(catalog, settings, NOW) == 1
    text = shown(channel) + channel.requests[0].json["text"]
    assert "&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;" in text
    assert not any(call in text for call in ("<!channel", "<!here", "<https://evil"))


@pytest.mark.parametrize(
    ("level", "what", "replayed"),
    [
        ("failed", "failed", True),
        ("missed", "missed the deadline", False),
        ("degraded", "published as degraded", False),
        ("rejected", "rejected", True),
        ("repair", "could not be repaired", True),
        ("proof", "is published with a wrong rendition", False),
    ],
)
def test_each_level_says_what_it_is_and_what_to_do(
    catalog: Catalog, settings: Settings, channel: Receiver, level: AlertLevel, what: str, replayed: bool
) -> None:
    accept(catalog)
    alert(catalog, level=level)
    assert send_alerts(catalog, settings, NOW) == 1
    text = shown(channel)
    assert f"*alpha* {what}" in text
    assert ("callsheet replay spring/alpha" in text) is replayed


def test_without_the_connection_alerts_wait_in_the_ledger(
    catalog: Catalog,
    settings: Settings,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CALLSHEET_SLACK", raising=False)
    caplog.set_level(logging.WARNING, logger="include")
    accept(catalog)
    alert(catalog)
    assert send_alerts(catalog, settings, NOW) == 0
    assert "callsheet_slack does not exist" in caplog.text
    connection = {"conn_type": "slackwebhook", "password": f"{receiver.origin}/x"}
    monkeypatch.setenv("AIRFLOW_CONN_CALLSHEET_SLACK", json.dumps(connection))
    assert send_alerts(catalog, settings, after(30)) == 1


def test_what_slack_does_not_take_is_sent_later_and_its_address_is_not_logged(
    catalog: Catalog, settings: Settings, channel: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="include")
    accept(catalog, "spring", "a", "b")
    alert(catalog, "a")
    alert(catalog, "b")
    channel.answer = lambda received, handler: 500 if "*a*" in received.json["text"] else 200
    assert send_alerts(catalog, settings, NOW) == 1
    assert "Slack did not take" in caplog.text
    assert TOKEN not in caplog.text
    channel.answer = lambda received, handler: 200
    assert send_alerts(catalog, settings, after(30)) == 1
    assert "*a*" in channel.requests[-1].json["text"]


def test_links_need_an_address_of_airflow_and_are_left_out_without_one(
    catalog: Catalog, settings: Settings, channel: Receiver
) -> None:
    accept(catalog)
    start(catalog, "spring/alpha")
    alert(catalog)
    assert send_alerts(catalog, settings.model_copy(update={"airflow_base_url": ""}), NOW) == 1
    assert "|run>" not in shown(channel)


def test_nothing_to_tell_needs_no_connection(catalog: Catalog, settings: Settings) -> None:
    assert send_alerts(catalog, settings, NOW) == 0


def test_the_digest_is_one_message_in_which_no_name_is_markup(channel: Receiver, settings: Settings) -> None:
    ended = Ended(name="<!channel> & co", tier=Tier.PREMIUM, state=State.FAILED, publish_at=NOW, playable_at=None)

    assert send_digest(digest_of([ended], [], cpu_s=3600, now=NOW), settings)

    text = shown(channel)
    assert "the day until 2026-03-01 12:00 UTC" in text
    assert "0 of 1 deadlines kept (0.0%): missed &lt;!channel&gt; &amp; co" in text
    assert len(channel.requests) == 1


def test_without_a_channel_the_digest_stays_here(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_CALLSHEET_SLACK", raising=False)

    assert not send_digest(digest_of([], [], cpu_s=0, now=NOW), settings)

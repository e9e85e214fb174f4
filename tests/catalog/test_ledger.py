from __future__ import annotations

from include.adapters.catalog import Catalog
from include.base.errors import EncoderCrashed
from include.domain.telling.alerts import GATHER, STORM_WINDOW, Alert, AlertLevel
from tests.catalog.samples import NOW, accept, after, start


def alert(
    catalog: Catalog, title_id: str = "alpha", *, level: AlertLevel = "failed", cause: str = "x", at: float = 0
) -> bool:
    return catalog.alerts.enter(
        title_id=title_id,
        request_id=f"spring/{title_id}",
        level=level,
        cause=cause,
        message="it failed",
        now=after(at),
    )


def to_send(catalog: Catalog, seconds: float = 0) -> list[Alert]:
    return catalog.alerts.claim_due(after(seconds), 100, 60)


def test_an_alert_is_entered_once_per_title_request_and_level(catalog: Catalog) -> None:
    accept(catalog, "spring", "alpha", "beta")
    assert alert(catalog)
    assert not alert(catalog, cause="another", at=1)
    assert alert(catalog, level="missed")
    assert alert(catalog, "beta")
    assert [(each.title_id, each.level) for each in to_send(catalog, 1)] == [
        ("alpha", "failed"),
        ("alpha", "missed"),
        ("beta", "failed"),
    ]


def test_an_alert_comes_with_what_a_person_wants_to_know(catalog: Catalog) -> None:
    accept(catalog, name="Alpha, the movie", publish_at=after(60).isoformat())
    start(catalog, "spring/alpha")
    alert(catalog)
    error = EncoderCrashed("gone", command="ffmpeg", stderr_tail="").document()
    catalog.history.record_dead_letter(
        "spring/alpha", error=error, task="encode", replay_command="callsheet replay x", now=NOW
    )
    (sent,) = to_send(catalog)
    assert (sent.name, sent.dag_id, sent.run_id) == ("Alpha, the movie", "batch__spring", "alpha__1")
    assert (sent.owner, sent.replay_command, sent.publish_at) == ("encoder", "callsheet replay x", after(60))


def test_what_is_sent_is_sent_and_what_failed_is_tried_again_later(catalog: Catalog) -> None:
    accept(catalog, "spring", "alpha", "beta")
    alert(catalog, "alpha")
    alert(catalog, "beta")
    first, second = to_send(catalog)
    assert to_send(catalog, 59) == [], "claimed"
    catalog.alerts.sent([first.id], after(1))
    catalog.alerts.failed([first.id, second.id], "SlackError", after(1))
    assert to_send(catalog, 30) == []
    (again,) = to_send(catalog, 31)
    assert again.id == second.id
    assert [each.id for each in to_send(catalog, 91)] == [second.id], "an expired claim is claimed again"


def test_the_third_alert_of_a_storm_waits_for_others_of_its_cause(catalog: Catalog) -> None:
    titles = [f"t{number}" for number in range(6)]
    accept(catalog, "spring", *titles)
    for second, title in enumerate(titles[:5]):
        alert(catalog, title, at=second)
    alert(catalog, titles[5], cause="other", at=5)
    assert [each.title_id for each in to_send(catalog, 5)] == ["t0", "t1", "t5"]
    gathered = 2 + GATHER.total_seconds()
    assert to_send(catalog, gathered - 1) == []
    assert [each.title_id for each in to_send(catalog, gathered)] == ["t2", "t3", "t4"]


def test_alerts_of_one_cause_that_come_far_apart_are_no_storm(catalog: Catalog) -> None:
    accept(catalog, "spring", "a", "b", "c")
    pause = STORM_WINDOW.total_seconds()
    for number, title in enumerate("abc"):
        alert(catalog, title, at=number * pause)
        assert [each.title_id for each in to_send(catalog, number * pause)][-1:] == [title]


def test_a_degraded_title_is_queued_for_repair_once_and_repaired_by_one_request(catalog: Catalog) -> None:
    accept(catalog, "spring", "alpha", "beta")
    assert catalog.repairs.queue("spring/beta", ["h264_720p"], NOW)
    assert catalog.repairs.queue("spring/alpha", ["h264_360p", "h264_720p"], after(1))
    assert not catalog.repairs.queue("spring/beta", ["h264_144p"], after(2))
    first, second = catalog.repairs.pending()
    assert (first.request_id, first.title_id, first.missing) == ("spring/beta", "beta", ("h264_720p",))
    assert second.missing == ("h264_360p", "h264_720p")
    assert catalog.repairs.pending(limit=1) == [first]
    assert catalog.repairs.taken(first.id, "spring-repair1/beta", after(3))
    assert not catalog.repairs.taken(first.id, "spring-repair2/beta", after(4))
    assert catalog.repairs.pending() == [second]

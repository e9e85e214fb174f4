from __future__ import annotations

from datetime import timedelta

from include.domain.telling.alerts import FIRST_RETRY, GATHER, LONGEST_RETRY, Alert, AlertLevel, due_at, group
from include.domain.telling.retries import retry_after
from tests.catalog.samples import NOW


def an_alert(number: int, *, level: AlertLevel = "failed", cause: str = "EncoderCrashed") -> Alert:
    return Alert(
        id=number,
        title_id=f"t{number}",
        request_id=f"spring/t{number}",
        level=level,
        cause=cause,
        message="it failed",
        created_at=NOW,
        name=None,
        dag_id="batch__spring",
        run_id=None,
        preview=None,
        publish_at=None,
        owner=None,
        replay_command=None,
    )


def shape(alerts: list[Alert]) -> list[tuple[str, list[int]]]:
    return [(message.cause, [alert.id for alert in message.alerts]) for message in group(alerts)]


def test_two_alerts_of_one_cause_are_two_messages_and_three_are_one() -> None:
    assert shape([an_alert(1), an_alert(2)]) == [("EncoderCrashed", [1]), ("EncoderCrashed", [2])]
    assert shape([an_alert(1), an_alert(2), an_alert(3)]) == [("EncoderCrashed", [1, 2, 3])]


def test_alerts_of_other_levels_or_causes_stay_apart_and_in_order() -> None:
    alerts = [
        an_alert(1),
        an_alert(2, cause="disk"),
        an_alert(3),
        an_alert(4, level="missed"),
        an_alert(5),
        an_alert(6, cause="disk"),
    ]
    assert shape(alerts) == [
        ("EncoderCrashed", [1, 3, 5]),
        ("disk", [2]),
        ("EncoderCrashed", [4]),
        ("disk", [6]),
    ]


def test_nothing_to_tell_is_no_message() -> None:
    assert group([]) == []


def test_the_first_two_alerts_of_a_cause_go_at_once_and_later_ones_gather() -> None:
    gathering = NOW + timedelta(seconds=20)
    assert [due_at(now=NOW, recent=recent, gathering_until=None) for recent in (0, 1, 2)] == [NOW, NOW, NOW + GATHER]
    assert due_at(now=NOW, recent=2, gathering_until=gathering) == gathering


def test_the_pauses_between_attempts_double_up_to_half_an_hour() -> None:
    pauses = [retry_after(attempts, first=FIRST_RETRY, longest=LONGEST_RETRY) for attempts in (1, 2, 3, 7, 99)]
    assert [pause.total_seconds() for pause in pauses] == [30, 60, 120, 1800, 1800]

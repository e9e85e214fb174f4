"""One title after the other through a real Airflow: from the CMS's request to what players, CMS and Slack get."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import m3u8
import pytest

from include.adapters.catalog import Event
from include.base.errors import RequestRejected
from include.base.settings.telling import signing_keys
from include.domain.telling.webhooks import verify
from include.local.stack import find
from tests.clips import make_clip
from tests.stack import LiveStack, wait_for

FUTURE = datetime(2100, 1, 1, tzinfo=UTC).isoformat()


@pytest.fixture(scope="module")
def clip(live: LiveStack) -> Path:
    """Two rungs' worth of picture, with sound."""
    return make_clip(live.mezzanines / "clip.mp4", seconds=3)


@pytest.fixture(scope="module")
def batch(live: LiveStack, clip: Path) -> dict[str, Any]:
    """A batch with a good title, a bad one, and two whose mezzanines are no good; all settled."""
    (live.mezzanines / "empty.mp4").touch()
    (live.mezzanines / "text.mp4").write_text("#EXTM3U\nfile:///etc/passwd\n")
    live.submit(
        "first",
        {
            "title_id": "good", "name": "Good <b>one</b>", "mezzanine": clip.as_uri(), "tier": "premium",
            "publish_at": FUTURE, "territories": ["DE", "FR"], "metadata": {"cms": 7},
        },
        {"title_id": "bad-tier", "mezzanine": clip.as_uri(), "tier": "gold"},
        {"title_id": "empty", "mezzanine": (live.mezzanines / "empty.mp4").as_uri()},
        {"title_id": "no-video", "mezzanine": (live.mezzanines / "text.mp4").as_uri()},
        callback_url=f"{live.callbacks.origin}/cms",
    )  # fmt: skip
    live.settled("first")
    return live.client().batch("first")


def title(batch: dict[str, Any], title_id: str) -> dict[str, Any]:
    return next(each for each in batch["titles"] if each["title_id"] == title_id)


def test_a_good_title_is_published_with_its_rungs_measured(batch: dict[str, Any], live: LiveStack) -> None:
    good = title(batch, "good")

    assert good["state"] == "published"
    assert good["version"] == 1
    assert good["deadline_kept"]
    assert good["metadata"] == {"cms": 7}
    assert [(rung["width"], rung["height"]) for rung in good["rungs"]] == [(256, 144), (320, 180)]
    assert all(rung["vmaf"] > 60 for rung in good["rungs"])
    files = live.store.list("titles/good/v1")
    assert {"hls.m3u8", "dash.mpd", "preview.html", "report.json"} <= files.keys()


def test_the_pointer_names_the_published_version_and_its_manifests(batch: dict[str, Any], live: LiveStack) -> None:
    pointer = json.loads(live.store.get_bytes("titles/good/current.json"))

    assert pointer["version"] == 1
    assert title(batch, "good")["hls"] == pointer["manifests"]["hls"]
    assert pointer["territories"] == ["DE", "FR"]
    version = live.catalog.versions.current("good", "DE")
    assert version is not None
    assert version.version == 1
    assert live.catalog.versions.current("good", "US") is None


def test_the_manifest_is_served_to_users_of_airflow_and_to_nobody_else(batch: dict[str, Any], live: LiveStack) -> None:
    address = title(batch, "good")["hls"]
    token = live.token("cms")

    assert httpx.get(address).status_code == 401
    answer = httpx.get(address, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/vnd.apple.mpegurl"
    sizes = [playlist.stream_info.resolution for playlist in m3u8.loads(answer.text).playlists]
    assert sizes == [(256, 144), (320, 180), None]
    escape = address.replace("hls.m3u8", "..%2f..%2f..%2f..%2fcatalog.db")
    assert httpx.get(escape, headers={"Authorization": f"Bearer {token}"}).status_code == 404


def test_a_bad_title_is_refused_alone_with_field_value_and_reason(batch: dict[str, Any]) -> None:
    (refusal,) = batch["refusals"]

    assert (refusal["title_id"], refusal["field"], refusal["value"]) == ("bad-tier", "tier", "'gold'")
    assert "bad-tier" not in [each["title_id"] for each in batch["titles"]]


@pytest.mark.parametrize(("title_id", "reason"), [("empty", "empty"), ("no-video", "invalid_type")])
def test_a_bad_mezzanine_is_rejected_without_a_retry(
    title_id: str, reason: str, batch: dict[str, Any], live: LiveStack
) -> None:
    bad = title(batch, title_id)

    assert ("rejected", reason) == (bad["state"], bad["reason"])
    prepared = [each for each in live.catalog.history.events(request_id=bad["request_id"]) if each.task == "prepare"]
    assert [event.kind for event in prepared] == ["task.started", "task.failed", "dead_letter"]
    letters = {letter["request_id"]: letter for letter in live.client("admin").dead_letters(100)}
    assert letters[bad["request_id"]]["error"]["owner"] == "source"
    assert f"callsheet replay {bad['request_id']}" == letters[bad["request_id"]]["replay_command"]


def test_the_cms_hears_of_every_step_in_order_and_signed(batch: dict[str, Any], live: LiveStack) -> None:
    live.trigger("dispatch", "webhooks-now")
    wait_for(lambda: "title.published" in _types(live, "good"), "the webhook of the publication")

    types = _types(live, "good")
    assert types[:2] == ["title.accepted", "title.started"]
    assert types[-2:] == ["title.playable", "title.published"]
    assert {"title.progress"} == set(types[2:-2])
    assert _types(live, "empty") == ["title.accepted", "title.started", "title.rejected"]
    secret = json.loads((live.settings.home / "secrets.json").read_text())["webhook"]
    now = datetime.now(UTC)
    for received in live.callbacks.requests:
        assert verify(keys=signing_keys(secret), headers=received.headers, body=received.body, now=now)


def test_slack_hears_of_rejected_titles_once(batch: dict[str, Any], live: LiveStack) -> None:
    told = [received.body.decode() for received in live.slack.requests]

    assert sum("empty" in text and "rejected" in text for text in told) == 1
    assert not any("good" in text for text in told)


def test_history_has_a_row_for_each_rendition(batch: dict[str, Any], live: LiveStack) -> None:
    rows = live.catalog.history.of_request("first/good")

    assert {"h264_144p", "h264_240p"} == {row.rendition for row in rows}
    assert len(rows) == 2
    for row in rows:
        assert row.cpu_s > 0
        assert row.peak_memory_mb > 0
        assert row.vmaf is not None
        assert row.frames == 75


def test_each_other_task_leaves_a_row_too(batch: dict[str, Any], live: LiveStack) -> None:
    rows = {row.task: row for row in live.catalog.history.recent_tasks(limit=100)}

    assert set(rows) == {"prepare", "extras", "finish"}
    assert all(row.cpu_s > 0.5 and row.peak_memory_mb > 0 for row in rows.values())


def test_the_same_batch_again_changes_nothing(batch: dict[str, Any], live: LiveStack, clip: Path) -> None:
    request = {"title_id": "again", "mezzanine": clip.as_uri(), "tier": "ugc"}
    live.submit("again", request)
    live.settled("again")

    live.trigger("intake", "the-same-once-more", {"batch_id": "again", "titles": [request]})
    wait_for(lambda: live.run_state("intake", "the-same-once-more") == "success", "the second intake")
    assert [each.version for each in live.catalog.titles.find(title_id="again")] == [1]


def test_the_same_batch_id_with_other_content_is_refused(batch: dict[str, Any], live: LiveStack, clip: Path) -> None:
    with pytest.raises(RequestRejected, match="first"):
        live.submit("first", {"title_id": "other", "mezzanine": clip.as_uri()})


def test_a_wholly_bad_request_fails_intake_and_says_why(live: LiveStack) -> None:
    with pytest.raises(RequestRejected, match=r"pipeline: no pipeline of this name.*vod"):
        live.submit("nonsense", {"title_id": "x", "mezzanine": "file:///x"}, pipeline="nonesuch")


def test_a_title_in_a_later_batch_becomes_a_new_version(batch: dict[str, Any], live: LiveStack, clip: Path) -> None:
    live.submit("later", {"title_id": "good", "mezzanine": clip.as_uri(), "tier": "ugc"})

    (later,) = live.settled("later")
    assert (later["state"], later["version"]) == ("published", 2)
    assert json.loads(live.store.get_bytes("titles/good/current.json"))["version"] == 2
    assert live.store.size("titles/good/v1/hls.m3u8")


def test_replaying_a_settled_title_makes_a_new_request(batch: dict[str, Any], live: LiveStack) -> None:
    new = live.client("admin").replay("first/empty")

    (replayed,) = live.settled(new["request_id"])
    assert (replayed["state"], replayed["origin_request_id"]) == ("rejected", "first/empty")


def test_acting_on_a_title_needs_more_than_a_login(batch: dict[str, Any], live: LiveStack) -> None:
    address = f"{live.stack.url}/callsheet/api/v1/titles/first/empty/replay"
    before = len(live.catalog.titles.find(title_id="empty"))

    assert httpx.post(address).status_code == 401
    assert httpx.post(address, headers={"Authorization": f"Bearer {_viewer_token(live)}"}).status_code == 403
    assert len(live.catalog.titles.find(title_id="empty")) == before


def test_a_batch_dag_started_by_hand_fails_its_first_task_and_says_what_to_do(
    batch: dict[str, Any], live: LiveStack
) -> None:
    live.trigger("batch__first", "by-hand")
    wait_for(lambda: live.run_state("batch__first", "by-hand") == "failed", "the end of the run")
    states = {each["task_id"]: each["state"] for each in live.api().task_instances("batch__first", "by-hand")}
    log = json.dumps(
        live.api().request("GET", "/api/v2/dags/batch__first/dagRuns/by-hand/taskInstances/prepare/logs/1")
    )
    assert states["prepare"] == "failed"
    assert "not started by hand" in log
    assert "callsheet submit" in log


def test_a_malformed_batch_breaks_no_other(live: LiveStack, clip: Path) -> None:
    from include.domain.title.request import parse_batch

    conf = {
        "batch_id": "broken",
        "titles": [{"title_id": f"stuck-{n}", "mezzanine": clip.as_uri()} for n in range(live.settings.release_window)],
    }
    # A batch whose pipeline's version this deployment does not have: its DAG cannot be parsed.
    parsed = parse_batch(conf, pipelines=frozenset({"vod"}))
    live.catalog.batches.accept(parsed, pipeline_version=99, now=datetime.now(UTC))
    live.submit("beside-broken", {"title_id": "beside", "mezzanine": clip.as_uri(), "tier": "ugc"})

    (beside,) = live.settled("beside-broken")
    assert beside["state"] == "published"
    assert {"waiting"} == {each.state for each in live.catalog.titles.find(batch_id="broken")}


def test_a_missed_deadline_is_told_once_whether_or_not_the_title_has_a_run(live: LiveStack, clip: Path) -> None:
    from include.domain.title.request import parse_batch

    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    unreleased = {"batch_id": "unreleased", "titles": [
        {"title_id": "never-ran", "mezzanine": clip.as_uri(), "publish_at": past}]}  # fmt: skip
    parsed = parse_batch(unreleased, pipelines=frozenset({"vod"}))
    live.catalog.batches.accept(parsed, pipeline_version=99, now=datetime.now(UTC))
    live.submit("late", {"title_id": "ran-late", "mezzanine": clip.as_uri(), "tier": "ugc", "publish_at": past})
    (late,) = live.settled("late")

    assert (late["state"], late["deadline_kept"]) == ("published", False)
    live.trigger("dispatch", "sweep-now")
    for title_id in ("never-ran", "ran-late"):
        wait_for(lambda name=title_id: _told_of_miss(live, name) == 1, f"the alert of {title_id}")
    live.trigger("dispatch", "sweep-again")
    wait_for(lambda: live.run_state("dispatch", "sweep-again") == "success", "another sweep")
    assert [_told_of_miss(live, title_id) for title_id in ("never-ran", "ran-late")] == [1, 1]


def test_a_rendition_that_fails_for_good_leaves_the_title_degraded_and_repaired_later(
    live: LiveStack, clip: Path
) -> None:
    ladder = [rung["rendition"] for rung in live.client().title("first/good")["rungs"]]
    core = {job.name for job in _plan_of(live, "first/good").jobs if job.rendition.core}
    victim = next(name for name in ladder if name not in core)
    fault = live.faults / f"fragile.*{victim}.mp4"
    fault.touch()
    live.submit("fragile", {"title_id": "fragile", "mezzanine": clip.as_uri(), "tier": "premium"})
    try:
        (fragile,) = live.settled("fragile")
    finally:
        fault.unlink()

    assert (fragile["state"], fragile["version"]) == ("degraded", 1)
    assert [name for name in ladder if name != victim] == [rung["rendition"] for rung in fragile["rungs"]]
    failed = [
        event for event in live.catalog.history.events(request_id="fragile/fragile") if event.kind == "task.failed"
    ]
    assert len(failed) == 3
    assert {victim} == {event.item for event in failed}
    live.trigger("dispatch", "repair-now")
    wait_for(lambda: len(live.catalog.titles.find(title_id="fragile")) == 2, "the repair")
    (repaired,) = live.settled(live.catalog.titles.find(title_id="fragile")[-1].request_id)
    assert (repaired["state"], repaired["origin_request_id"]) == ("published", "fragile/fragile")
    assert json.loads(live.store.get_bytes("titles/fragile/current.json"))["version"] == 2
    assert sum("fragile" in received.body.decode() and "degraded" in received.body.decode()
                    for received in live.slack.requests) == 1  # fmt: skip


def test_the_stack_is_healthy_and_says_so_only_to_users(live: LiveStack) -> None:
    report = live.client().api.request("GET", "/callsheet/api/v1/health")

    assert {"healthy": report["healthy"]} == {"healthy": True}
    assert {"ok"} == set(report["checks"].values())
    assert httpx.get(f"{live.stack.url}/callsheet/api/v1/health").status_code == 401
    assert find(live.settings) == live.stack


def _viewer_token(live: LiveStack) -> str:
    """A token as the stack's Airflow signs them, of somebody who may look at everything and change nothing."""
    now = datetime.now(UTC)
    claims = {"sub": "viewer", "role": "viewer", "aud": "apache-airflow", "jti": uuid4().hex}
    times = {"iat": now, "nbf": now, "exp": now + timedelta(minutes=10)}
    secret = json.loads((live.settings.home / "secrets.json").read_text())["jwt"]
    return jwt.encode({**claims, **times}, secret, algorithm="HS512")


def _plan_of(live: LiveStack, request_id: str) -> Any:
    from include.domain.plan.plan import Plan
    from include.pipelines.runner import load_result

    record = live.catalog.titles.get(request_id)
    assert record is not None
    return load_result(record.job(), "plan", Plan, live.store)


def _types(live: LiveStack, title_id: str) -> list[str]:
    return [
        received.json["type"]
        for received in live.callbacks.requests
        if received.json["data"].get("title_id") == title_id
    ]


def _told_of_miss(live: LiveStack, title_id: str) -> int:
    return sum(
        title_id in received.body.decode() and "missed the deadline" in received.body.decode()
        for received in live.slack.requests
    )


def test_what_is_published_is_proved_on_every_frame_behind_its_settlement(
    batch: dict[str, Any], live: LiveStack
) -> None:
    """The tier asks for it; the title's own run has ended by then, and nothing of the title changes."""
    request_id = title(batch, "good")["request_id"]

    def proofs() -> list[Event]:
        events = live.catalog.history.events(request_id=request_id)
        return [each for each in events if each.kind.startswith(("title.proved", "title.not_proved"))]

    def compared() -> bool:
        events = live.catalog.history.events(request_id=request_id)
        return any(each.task == "prove" and each.kind == "task.finished" for each in events)

    settled = live.catalog.titles.get(request_id)
    # A run of dispatch starts the proof and a later one concludes it: neither is waited for until its minute comes.
    live.trigger("dispatch", "proof-starts")
    wait_for(compared, "the comparison of the title", limit_s=180)
    live.trigger("dispatch", "proof-ends")
    wait_for(lambda: bool(proofs()), "the proof of the title", limit_s=90)

    (proved,) = proofs()
    assert proved.kind == "title.proved"
    assert {each["rendition"]: each["vmaf"]["frames"] for each in proved.detail["renditions"]} == {
        "h264_144p": 75, "h264_240p": 75
    }  # fmt: skip
    assert proved.detail["cpu_s"] > 0
    assert live.catalog.titles.get(request_id) == settled
    of_batch = live.catalog.history.events(batch_id="first", limit=1000)
    assert [each.request_id for each in of_batch if each.kind == "proof.queued"] == [request_id]

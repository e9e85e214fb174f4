"""A whole title on the parts of a production farm: pods, PostgreSQL, S3, Airflow's components as separate processes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.clips import Clips
from tests.farm import Farm
from tests.kube.faults import PodFault
from tests.kube.selectors import quantity
from tests.kube.server import Kube
from tests.production.chaos import named_files, workers
from tests.production.conftest import CDN
from tests.s3 import S3
from tests.stack import wait_for

TOO_LITTLE_MB = 760
"""Between what the encode of a small rung asks for at first, and what it asks for after that was not enough."""


@pytest.fixture(scope="module")
def titles(production: Farm, mezzanine: str, s3: S3) -> dict[str, dict[str, Any]]:
    """A good title and one whose mezzanine is no picture, submitted over REST and settled."""
    s3.client().put_object(Bucket=s3.bucket, Key="in/text.mp4", Body=b"#EXTM3U\nfile:///etc/passwd\n")
    production.submit(
        "titles",
        {"title_id": "good", "mezzanine": mezzanine, "tier": "ugc"},
        {"title_id": "bad", "mezzanine": f"s3://{s3.bucket}/in/text.mp4", "tier": "ugc"},
    )
    return {each["title_id"]: each for each in production.settled("titles")}


def test_a_title_is_published_whole_with_what_players_and_caches_need(
    titles: dict[str, Any], production: Farm, s3: S3
) -> None:
    good = titles["good"]

    assert (good["state"], good["version"], good["message"]) == ("published", 1, None)
    names = set(named_files(production.store, "titles/good/v1"))
    assert {"hls.m3u8", "dash.mpd", "video/h264_144p/media.m3u8"} < names
    stored = {name: s3.client().get_object(Bucket=s3.bucket, Key=f"farm/titles/good/v1/{name}") for name in names}
    assert {each["CacheControl"] for each in stored.values()} == {"max-age=31536000, immutable"}
    assert all(each["Body"].read() for each in stored.values())
    types = {name.rpartition(".")[2]: each["ContentType"] for name, each in stored.items()}
    assert types == types | {"m3u8": "application/vnd.apple.mpegurl", "mpd": "application/dash+xml"}


def test_the_pointer_is_never_cached_and_names_the_version(titles: dict[str, Any], s3: S3) -> None:
    stored = s3.client().get_object(Bucket=s3.bucket, Key="farm/titles/good/current.json")
    pointer = json.loads(stored["Body"].read())

    assert stored["CacheControl"] == "no-cache"
    assert (pointer["version"], pointer["manifests"]["hls"]) == (1, f"{CDN}/titles/good/v1/hls.m3u8")
    assert titles["good"]["hls"] == pointer["manifests"]["hls"]


def test_a_bad_mezzanine_is_rejected_by_its_first_verdict(titles: dict[str, Any], production: Farm) -> None:
    assert (titles["bad"]["state"], titles["bad"]["reason"]) == ("rejected", "invalid_type")
    events = production.catalog.history.events(request_id="titles/bad")
    verdicts = [
        (event.detail or {})["type"] for event in events if (event.kind, event.task) == ("task.failed", "prepare")
    ]
    assert set(verdicts) == {"MezzanineRejected"}
    # Airflow may take an attempt for lost whose pod ends before the executor has told of the deferral. It says so, and
    # makes another, which comes to the same verdict. Of the task's own accord there is one.
    assert len(verdicts) <= 1 + attempts_lost(production, "titles/bad", "prepare")


def test_the_task_s_log_has_the_worker_s_and_ffmpeg_s_words(titles: dict[str, Any], production: Farm) -> None:
    (encode,) = instances(production, "titles/good", "encode_cpu")

    said = task_log(production, encode)

    assert "stage encode took" in said
    assert re.search(r"ffmpeg\S* -nostdin .*h264_144p\.mp4", said)


def test_nothing_but_the_databases_remembers_the_title_on_the_farm_s_own_disk(
    titles: dict[str, Any], production: Farm
) -> None:
    assert production.settings.catalog_url.startswith("postgresql+psycopg://")
    assert not [path for path in production.settings.home.rglob("*.db") if path.is_file()]
    assert not list(production.settings.scratch.iterdir())


def test_no_pod_is_left_of_a_title(titles: dict[str, Any], kube: Kube) -> None:
    assert kube.counts["create", "pods"] >= len(["prepare", "encode", "extras", "finish", "prepare of the bad one"])
    assert kube.pods() == []


def test_an_encode_that_runs_out_of_memory_gets_more(production: Farm, kube: Kube, mezzanine: str) -> None:
    encode = "callsheet/title=hungry,callsheet/task=encode.h264_144p"
    kube.faults.add(PodFault(kind="oom", labels=encode, memory_mb=TOO_LITTLE_MB, times=None))
    production.submit("hungry", {"title_id": "hungry", "mezzanine": mezzanine, "tier": "ugc"})
    asked: dict[str, int] = {}

    def settled() -> bool:
        """Whether the title has come to its end; notes its pods meanwhile, in the order of their starts."""
        for name, pod in encode_pods(kube, "hungry").items():
            asked.setdefault(name, pod["memory_mb"])
        return all(title.state.final for title in production.catalog.titles.find(batch_id="hungry"))

    wait_for(settled, "the end of the hungry title", limit_s=240)

    (title,) = production.settled("hungry")
    assert (title["state"], title["message"]) == ("published", None)
    # Where an attempt is lost before it has read how its pod ended, the next one asks for as much once more.
    memory_mb = list(asked.values())
    assert memory_mb == sorted(memory_mb)
    assert memory_mb[0] <= TOO_LITTLE_MB < memory_mb[-1]
    assert len(set(memory_mb)) == 2
    lost = attempts_lost(production, "hungry/hungry", "encode_cpu")
    (instance,) = instances(production, "hungry/hungry", "encode_cpu")
    assert 2 <= instance["try_number"] <= len(memory_mb) + lost


def test_clearing_a_running_encode_ends_its_pod_and_starts_another(
    production: Farm, kube: Kube, clips: Clips, s3: S3
) -> None:
    noisy = clips("production_noise.mp4", seconds=12, size="640x360", filters="noise=alls=40:allf=t")
    s3.client().upload_file(str(noisy), s3.bucket, "in/noisy.mp4")
    production.submit("cleared", {"title_id": "cleared", "mezzanine": f"s3://{s3.bucket}/in/noisy.mp4", "tier": "ugc"})
    found: list[tuple[str, int]] = []

    def watched() -> bool:
        """Whether a triggerer waits for the running pod of an encode: before, a clear leaves the pod to the sweep."""
        pods = encode_pods(kube, "cleared")
        waiting = instances(production, "cleared/cleared", "encode_cpu") if pods else []
        indexes = {each["map_index"] for each in waiting if (each["trigger"] or {}).get("triggerer_id")}
        running = [(name, pod["map_index"]) for name, pod in pods.items() if pod["phase"] == "Running"]
        found.extend(each for each in running if each[1] in indexes)
        return bool(found)

    wait_for(watched, "an encode that a triggerer waits for", limit_s=180)
    pod, index = found[0]
    (record,) = production.catalog.titles.find(batch_id="cleared")

    production.api("admin").request(
        "POST",
        f"/api/v2/dags/{record.dag_id}/clearTaskInstances",
        json={
            "dry_run": False,
            "dag_run_id": record.run_id,
            "task_ids": [["encode_cpu", index]],
            "only_failed": False,
        },
    )

    wait_for(lambda: pod not in encode_pods(kube, "cleared"), "the end of the cleared encode's pod", limit_s=60)
    (title,) = production.settled("cleared")
    assert (title["state"], title["message"]) == ("published", None)
    assert workers(production, "encode") == []
    wait_for(lambda: kube.pods() == [], "the end of all pods", limit_s=30)


def encode_pods(kube: Kube, title_id: str) -> dict[str, dict[str, Any]]:
    """Pods of a title's encodes, by name: what they asked for, how far they are, whose they are."""
    return {
        pod["metadata"]["name"]: {
            "memory_mb": int(quantity(pod["spec"]["containers"][0]["resources"]["limits"]["memory"]) / 1024**2),
            "phase": pod["status"]["phase"],
            "map_index": int(pod["metadata"]["annotations"]["callsheet/map-index"]),
        }
        for pod in kube.pods()
        if pod["metadata"]["labels"].get("callsheet/title") == title_id
        and pod["metadata"]["labels"].get("callsheet/task", "").startswith("encode.")
    }


def instances(production: Farm, request_id: str, task: str) -> list[dict[str, Any]]:
    """Airflow's task instances of a title's task that were not skipped."""
    record = production.catalog.titles.get(request_id)
    assert record is not None
    found = production.api().task_instances(record.dag_id, record.run_id or "")
    return [each for each in found if each["task_id"] == task and each["state"] != "skipped"]


def attempts_lost(production: Farm, request_id: str, task: str) -> int:
    """How often Airflow's scheduler has taken an attempt of a title's task for lost, by its own audit log."""
    record = production.catalog.titles.get(request_id)
    assert record is not None
    params = {"dag_id": record.dag_id, "run_id": record.run_id, "task_id": task, "event": "state mismatch"}
    return int(production.api().request("GET", "/api/v2/eventLogs", params=params)["total_entries"])


def task_log(production: Farm, instance: dict[str, Any]) -> str:
    """The log of an instance's last attempt, as Airflow's UI gets it."""
    path = (
        f"/api/v2/dags/{instance['dag_id']}/dagRuns/{instance['dag_run_id']}/taskInstances/{instance['task_id']}"
        f"/logs/{instance['try_number']}"
    )
    params = {"map_index": instance["map_index"], "full_content": True}
    return json.dumps(production.api().request("GET", path, params=params), ensure_ascii=False)

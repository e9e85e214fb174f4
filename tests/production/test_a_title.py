"""A whole title on the parts of a production farm: PostgreSQL, S3, each component of Airflow a process of its own."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from tests.clips import Clips
from tests.farm import Farm
from tests.production.chaos import named_files
from tests.s3 import S3

IMMUTABLE = "max-age=31536000, immutable"


@pytest.fixture(scope="module")
def mezzanine(clips: Clips, s3: S3) -> str:
    """Address of a mezzanine in the bucket."""
    s3.client().upload_file(str(clips("production.mp4", seconds=1, size="160x90")), s3.bucket, "in/production.mp4")
    return f"s3://{s3.bucket}/in/production.mp4"


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


def test_a_title_is_published_and_a_player_gets_all_of_it(titles: dict[str, Any], production: Farm) -> None:
    good = titles["good"]

    assert (good["state"], good["version"], good["message"]) == ("published", 1, None)
    assert httpx.get(good["hls"]).status_code == 200
    names = set(named_files(production.store, "titles/good/v1"))
    assert len(names) > 8
    for name in names:
        answer = httpx.get(good["hls"].replace("hls.m3u8", name))
        assert (answer.status_code, answer.headers["cache-control"]) == (200, IMMUTABLE)
        assert answer.content
    assert httpx.get(good["hls"]).headers["content-type"] == "application/vnd.apple.mpegurl"
    assert httpx.get(good["dash"]).headers["content-type"] == "application/dash+xml"


def test_the_pointer_is_never_cached_and_names_the_version(titles: dict[str, Any], production: Farm) -> None:
    answer = httpx.get(f"{production.settings.public_base_url}/titles/good/current.json")

    assert answer.headers["cache-control"] == "no-cache"
    assert (answer.json()["version"], answer.json()["manifests"]["hls"]) == (1, titles["good"]["hls"])


def test_a_bad_mezzanine_is_rejected_at_the_first_attempt(titles: dict[str, Any], production: Farm) -> None:
    assert (titles["bad"]["state"], titles["bad"]["reason"]) == ("rejected", "invalid_type")
    assert [each["try_number"] for each in instances(production, "titles/bad", "prepare")] == [1]


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


def instances(production: Farm, request_id: str, task: str) -> list[dict[str, Any]]:
    """Airflow's task instances of a title's task that were not skipped."""
    record = production.catalog.title(request_id)
    assert record is not None
    found = production.api().task_instances(record.dag_id, record.run_id or "")
    return [each for each in found if each["task_id"] == task and each["state"] != "skipped"]


def task_log(production: Farm, instance: dict[str, Any]) -> str:
    """The log of an instance's last attempt, as Airflow's UI gets it."""
    path = (
        f"/api/v2/dags/{instance['dag_id']}/dagRuns/{instance['dag_run_id']}/taskInstances/{instance['task_id']}"
        f"/logs/{instance['try_number']}"
    )
    params = {"map_index": instance["map_index"], "full_content": True}
    return json.dumps(production.api().request("GET", path, params=params), ensure_ascii=False)

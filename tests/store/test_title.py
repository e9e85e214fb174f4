"""A whole title on S3 with a fault in every twentieth request: nothing lost, nothing half-visible."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin
from xml.etree import ElementTree

import pytest

from include.adapters.catalog import Catalog
from include.base.settings import load_settings
from include.domain.outcome.results import PackageResult
from include.domain.title.title import State
from include.pipelines.runner import load_result
from tests.clips import Clips
from tests.s3 import S3, Asked, s3_server
from tests.store.title import Life

FAULTS, SEED = 0.05, 11


class Player:
    """Reads every manifest beneath ``titles/`` whenever another object is about to appear, past the faults."""

    def __init__(self, s3: S3) -> None:
        self.s3 = s3
        self.client = s3.client()
        self.root = s3.uri.partition(f"{s3.bucket}/")[2] + "/titles/"
        self.read: set[str] = set()
        self.broken: list[str] = []
        self.looks = 0

    def look(self) -> None:
        """One look at everything that is visible now. What a manifest names must be there when the manifest is."""
        for name in self._visible():
            if name.endswith((".m3u8", ".mpd")):
                text = self._get(name)
                there = self._visible()
                self.read.add(name)
                self.broken += [f"{name} names {each}" for each in named(name, text) if each not in there]
            if name.endswith("current.json"):
                version = json.loads(self._get(name))["version"]
                manifest = name.replace("current.json", f"v{version}/hls.m3u8")
                if manifest not in self._visible():
                    self.broken.append(f"{name} names version {version}")

    def look_before_writes(self, asked: Asked) -> None:
        """What is visible changes with writes alone: this sees every state of it."""
        if asked.method == "PUT" and "/titles/" in asked.path:
            self.looks += 1
            self.look()

    def _visible(self) -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.s3.bucket, Prefix=self.root)
        return {each["Key"] for page in pages for each in page.get("Contents", [])}

    def _get(self, key: str) -> str:
        body: bytes = self.client.get_object(Bucket=self.s3.bucket, Key=key)["Body"].read()
        return body.decode()


def named(manifest: str, text: str) -> Iterator[str]:
    """Keys that a manifest names."""
    if manifest.endswith(".m3u8"):
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        names = lines + re.findall(r'URI="([^"]+)"', text)
    else:
        names = []
        for template in ElementTree.fromstring(text).iter("{urn:mpeg:dash:schema:mpd:2011}SegmentTemplate"):
            count = sum(int(each.get("r", 0)) + 1 for each in template.iter("{urn:mpeg:dash:schema:mpd:2011}S"))
            media = template.attrib["media"].replace("$Number%05d$", "{:05}")
            names += [template.attrib["initialization"], *(media.format(number + 1) for number in range(count))]
    assert names
    yield from (urljoin(manifest, name) for name in names)


@pytest.fixture(scope="module")
def farm() -> Iterator[S3]:
    with s3_server(faults=FAULTS, seed=SEED) as running:
        yield running


@pytest.fixture
def life(farm: S3, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Life:
    """A title that has been released; its mezzanine lies in S3."""
    clip = clips("store-title.mkv", seconds=1.0, size="256x144")
    farm.client().upload_file(str(clip), farm.bucket, "in/alpha.mkv")
    for name, value in {
        **farm.environment,
        "CALLSHEET_HOME": str(tmp_path),
        "CALLSHEET_STORE_URI": farm.uri,
        "CALLSHEET_MEZZANINE_BUCKETS": farm.bucket,
        "CALLSHEET_AIRFLOW_BASE_URL": "https://airflow.example",
        "CALLSHEET_ENCODE_SLOTS": "1",
        "CALLSHEET_S3_SSE": "AES256",
    }.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    made = Life(settings, Catalog(settings.catalog_url), tmp_path)
    made.submit(f"s3://{farm.bucket}/in/alpha.mkv")
    return made


def test_a_title_lives_on_s3_from_its_mezzanine_to_its_players(life: Life, farm: S3) -> None:
    player = Player(farm)
    farm.decide = player.look_before_writes
    life.live()
    player.look()

    assert life.record.state is State.PUBLISHED
    assert player.broken == []
    assert player.looks >= len(life.store.list("titles/alpha"))
    assert {name.rpartition("/")[2] for name in player.read} >= {"hls.m3u8", "dash.mpd", "media.m3u8"}
    packaged = load_result(life.record.job(), "package", PackageResult, life.store)
    assert isinstance(packaged, PackageResult)
    assert life.store.list("titles/alpha/v1") == packaged.files
    assert farm.hurt
    kept = farm.client().head_object(Bucket=farm.bucket, Key="farm/titles/alpha/v1/hls.m3u8")
    assert kept["ContentType"] == "application/vnd.apple.mpegurl"
    assert kept["CacheControl"] == "max-age=31536000, immutable"
    assert kept["ServerSideEncryption"] == "AES256"
    assert "uploads" not in {name for asked in farm.asked for name in asked.query if asked.method == "POST"}


def test_a_publication_that_dies_half_way_shows_nothing_half_and_is_finished_later(life: Life, farm: S3) -> None:
    """The copies of a set stop at any point; the manifests are those that are missing then."""
    store = life.store
    files: dict[str, Any] = {
        "hls.m3u8": "#EXTM3U\nv/media.m3u8\n", "v/media.m3u8": "#EXTM3U\nv0.m4s\nv1.m4s\n",
        "v/v0.m4s": "0", "v/v1.m4s": "1",
    }  # fmt: skip
    for name, text in files.items():
        store.put_bytes(f"work/beta/package/{name}", text.encode())
    for survived in range(4):
        player, copied = Player(farm), 0

        def dies(asked: Any) -> Any:
            nonlocal copied
            copied += asked.copies
            return (403, "AccessDenied") if asked.copies and copied > survived else None  # noqa: B023  # called at once

        farm.decide = dies
        with pytest.raises(Exception, match="AccessDenied"):
            store.copy_tree("work/beta/package", f"titles/beta/v{survived}")
        farm.decide = lambda asked: None
        player.look()
        assert player.broken == []

        store.copy_tree("work/beta/package", f"titles/beta/v{survived}")
        assert store.list(f"titles/beta/v{survived}") == {name: len(text) for name, text in files.items()}
        player.look()
        assert player.broken == []

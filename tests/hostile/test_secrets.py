"""Secrets are planted everywhere, failures provoked, and everything that was written searched."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text

from include.adapters.addresses import pinned_client
from include.adapters.catalog import Catalog
from include.adapters.store.local import LocalStore
from include.base.errors import CallsheetError, to_document
from include.base.settings import Settings
from include.base.text import redacted
from include.domain.title.title import Tier, TitleJob
from include.pipelines.runner import TaskJob
from tests.clips import Clips
from tests.media_core.conftest import Server
from tests.media_core.conftest import server as server
from tests.titles import fast, make_title

ROOT = Path(__file__).parents[2]
SECRET = "pl4nted-s3cret"
PLANTED = {
    "CALLSHEET_WEBHOOK_SECRET": f"{SECRET}-webhook",
    "CALLSHEET_CATALOG_URL": f"postgresql+psycopg://callsheet:{SECRET}-catalog@127.0.0.1:1/callsheet",
    "CALLSHEET_API_PASSWORD": f"{SECRET}-api",
    "AWS_ACCESS_KEY_ID": f"AKIA{SECRET}",
    "AWS_SECRET_ACCESS_KEY": f"{SECRET}-aws",
    "AWS_SESSION_TOKEN": f"{SECRET}-session",
    "AIRFLOW_CONN_CALLSHEET_SLACK": f"slackwebhook://:{SECRET}-slack@/",
}


def _cut(server: Server, clip: Path) -> None:
    server.serve(PATH, clip.read_bytes()[:500], length=10_000)


def _away(server: Server, clip: Path) -> None:
    server.serve(PATH, b"", status=302, Location=f"http://127.0.0.2:1/next?token={SECRET}")


PATH = f"/media/a.mp4?token={SECRET}-url&X-Amz-Signature={SECRET}-signed"
ANSWERS: dict[str, tuple[Callable[[Server, Path], None], int]] = {
    "it is there": (lambda server, clip: server.serve(PATH, clip.read_bytes()), 0),
    "it is none": (lambda server, clip: server.serve(PATH, b"#EXTM3U\n" + SECRET.encode()), 64),
    "it is not there": (lambda server, clip: server.serve(PATH, b"", status=404), 64),
    "the server fails": (lambda server, clip: server.serve(PATH, b"", status=500), 75),
    "it breaks off": (_cut, 75),
    "it moved": (_away, 64),
    "nobody answers": (lambda server, clip: None, 75),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_workers_secrets_are_in_nothing_that_it_writes(
    answer: str, tmp_path: Path, clips: Clips, server: Server
) -> None:
    serve, code = ANSWERS[answer]
    serve(server, clips("secret_source.mp4", seconds=0.4, size="96x64"))
    store = LocalStore(tmp_path / "store")
    title = TitleJob(
        request_id="b/t",
        batch_id="b",
        title_id="t",
        run_key="b.1",
        pipeline="vod",
        pipeline_version=_version(),
        mezzanine=server.url(PATH),
        tier=Tier.UGC,
    )
    job = TaskJob(task="prepare", title=title, time_limit_s=60)
    store.put_bytes(job.key, job.to_json().encode())
    environment = {
        **os.environ,
        **PLANTED,
        "CALLSHEET_HOME": str(tmp_path / "home"),
        "CALLSHEET_STORE_URI": store.uri,
        "CALLSHEET_ALLOWED_ORIGINS": server.origin,
        "PYTHONPATH": str(ROOT),
    }

    ended = subprocess.run(
        [sys.executable, "-m", "include.worker", "prepare", "--job", f"{store.uri}/{job.key}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        timeout=100,
        check=False,
    )

    assert ended.returncode == code, ended.stderr.decode()
    # The job document is how the worker learns the address.
    keys = [key for key in store.list("work") if "/jobs/" not in key and not key.endswith("source.bin")]
    written = {key: store.get_bytes(f"work/{key}") for key in keys}
    assert written
    for name, data in {"stdout": ended.stdout, "stderr": ended.stderr, **written}.items():
        assert SECRET.encode() not in data, f"{name}: {data.decode()[:2000]}"


def test_a_published_set_says_nothing_of_where_its_mezzanine_came_from(
    tmp_path: Path, clips: Clips, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.serve(PATH, clips("secret_source.mp4", seconds=0.4, size="96x64").read_bytes())
    allowed = {"allowed_origins": (server.origin,)}

    with caplog.at_level(logging.INFO):
        title = make_title(tmp_path, server.url(PATH), change=fast, settings=allowed)  # type: ignore[arg-type]
        title.package(title.check())

    published = [path for path in title.folder.rglob("*") if path.is_file()]
    assert {"report.json", "preview.html", "hls.m3u8", "dash.mpd"} <= {path.name for path in published}
    for path in published:
        data = path.read_bytes()
        assert SECRET.encode() not in data, path
        if path.suffix in {".json", ".html", ".m3u8", ".mpd", ".vtt"}:
            assert str(tmp_path).encode() not in data, path
            assert server.origin.encode() not in data, path
    assert SECRET not in caplog.text


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)

    settings = Settings()

    assert settings.catalog_url == PLANTED["CALLSHEET_CATALOG_URL"]
    assert SECRET not in repr(settings) + str(settings)


def test_a_catalog_that_does_not_answer_is_told_without_its_password(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(CallsheetError) as caught:
        Catalog(PLANTED["CALLSHEET_CATALOG_URL"]).batches.stubs()

    told = "".join(traceback.format_exception(caught.value))
    assert SECRET not in told + caught.value.message + caplog.text + to_document(caught.value).to_json()


def test_foreign_exceptions_are_told_without_addresses_secrets() -> None:
    address = f"https://user:{SECRET}@h.example/a?token={SECRET}"
    raised: list[BaseException] = [
        httpx.InvalidURL(f"bad {address}"),
        httpx.HTTPStatusError(
            f"500 for url '{address}'", request=httpx.Request("GET", address), response=httpx.Response(500)
        ),
        ConnectionError(f"https://hooks.slack.com/services/T0/B0/{SECRET} refused"),
        OSError(f"s3://bucket/key?X-Amz-Signature={SECRET}"),
    ]
    with pytest.raises(Exception, match="no such table") as caught, create_engine("sqlite://").connect() as connection:
        connection.execute(text("select * from t where u = :u"), {"u": address})
    raised.append(caught.value)

    for error in raised:
        document = to_document(error).to_json()
        assert SECRET not in document, document
        assert SECRET not in str(CallsheetError(str(error)))


def test_a_clients_own_log_says_nothing_of_a_query(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.serve(PATH, b"x")

    with (
        caplog.at_level(logging.INFO),
        pinned_client(Settings(allowed_origins=(server.origin,)), timeout_s=5) as client,
    ):
        assert client.get(server.url(PATH)).status_code == 200

    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://u:p@h/a", "https://…@h/a"),
        ("postgresql+psycopg://u:p%40q@h:5/d", "postgresql+psycopg://…@h:5/d"),
        ("get https://h/a?x=1&y=2 now", "get https://h/a?… now"),
        ("'https://h/a?x=1'", "'https://h/a?…'"),
        ("mail a@b.c or https://h/@x", "mail a@b.c or https://h/@x"),
        ("really? yes", "really? yes"),
    ],
)
def test_what_is_left_of_an_address(given: str, shown: str) -> None:
    assert redacted(given) == shown


SECRET_LOOKING = {
    "AWS key id": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{40}"),
    "Slack webhook": re.compile(r"hooks\.slack\.com/services/T[0-9A-Z]{8,}/B[0-9A-Z]{8,}/[0-9A-Za-z]{20,}"),
    "Slack token": re.compile(r"\bxox[abprs]-[0-9A-Za-z-]{20,}"),
    "GitHub token": re.compile(r"\bgh[pousr]_[0-9A-Za-z]{36}"),
    "JSON web token": re.compile(r"\beyJ[0-9A-Za-z_-]{20,}\.eyJ[0-9A-Za-z_-]{20,}\."),
    "Fernet key": re.compile(r"FERNET_KEY\W{1,4}[0-9A-Za-z_-]{43}="),
}


def test_the_tree_holds_nothing_that_looks_like_a_secret() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    paths = [ROOT / name for name in listed.stdout.split("\0") if name] or [
        path for path in ROOT.glob("*/**/*.py") if ".venv" not in path.parts
    ]
    texts = {path: path.read_text(errors="ignore") for path in paths if path.is_file()}

    assert len(texts) > 50
    found = [
        f"{path.relative_to(ROOT)}: {what}"
        for path, content in texts.items()
        for what, pattern in SECRET_LOOKING.items()
        if pattern.search(content)
    ]
    assert found == []
    assert not [
        path for path in texts if path.name in {".env", "keys.json", "id_rsa"} or path.suffix in {".pem", ".key"}
    ]


def _version() -> int:
    from include.pipelines.core import current_pipelines

    return current_pipelines()["vod"].version

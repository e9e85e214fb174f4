from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests import audit

HASH = f" --hash=sha256:{'a' * 64}"
NOBODY = "http://127.0.0.1:1/v1/querybatch"


@pytest.fixture
def service() -> Iterator[str]:
    """Speaks osv.dev's protocol, and knows one vulnerability: of bad 1.0."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            results = [
                {"vulns": [{"id": "GHSA-xxxx", "modified": "2026-01-01T00:00:00Z"}]}
                if each == {"package": {"name": "bad", "ecosystem": "PyPI"}, "version": "1.0"}
                else {}
                for each in asked
            ]
            body = json.dumps({"results": results}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class names it so
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{http.server_address[1]}/v1/querybatch"
    http.shutdown()
    http.server_close()


def _root(folder: Path, **files: str) -> Path:
    known = {
        "requirements.in": "good",
        "requirements.txt": f"good==1.0{HASH}",
        "requirements-dev.in": "-c requirements.txt\ntool  # why",
        "requirements-dev.txt": f"tool==2.0 \\\n   {HASH} \\\n   {HASH}",
        str(audit.REASONS): "| package | why |\n|---|---|\n| good | is |\n| Tool[extra] | helps |",
    }
    for name, text in {**known, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_the_projects_own_dependencies_pass() -> None:
    wanted, faults = audit.pins(audit.ROOT)

    assert faults == []
    assert audit.unexplained(audit.ROOT) == []
    assert audit.licences(wanted) == []
    assert len(wanted) > 100


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("requirements.txt", "good>=1.0", "is not pinned exactly"),
        ("requirements.txt", "good==1.*", "is not pinned exactly"),
        ("requirements.txt", "good @ https://x.example/good.whl", "is not pinned exactly"),
        ("requirements.txt", f"-e .\ngood==1.0{HASH}", "is no requirement of the index"),
        ("requirements.txt", f"other==1.0{HASH}", "good of requirements.in is missing"),
        ("requirements.txt", "good==1.0", "'good==1.0' has no hash"),
        ("requirements.txt", "good==1.0 --hash=md5:aa", "has no hash"),
        ("requirements-dev.txt", f"tool==2.0{HASH}\ngood==1.1{HASH}", "good is 1.0 in requirements.txt and 1.1 in"),
        (str(audit.REASONS), "| good | is |", "tool has no line in"),
        (str(audit.REASONS), "| good | is |\n## Rejected\n| tool | is not |", "tool has no line in"),
    ],
)
def test_lock_files_that_are_loose_or_out_of_step_fail(
    file: str, text: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.main(root=_root(tmp_path, **{file: text}), url=NOBODY) == 1
    assert fault in capsys.readouterr().err


def test_a_service_that_does_not_answer_is_said_aloud_and_fails_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.main(root=_root(tmp_path), url=NOBODY) == 0
    assert "NOT audited for vulnerabilities" in capsys.readouterr().err


def test_a_known_vulnerability_fails_unless_it_is_accepted(
    tmp_path: Path, service: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _root(tmp_path, **{"requirements.txt": f"good==1.0{HASH}\nbad==1.0{HASH}"})

    assert audit.main(root=root, url=service) == 1
    assert "bad 1.0: GHSA-xxxx" in capsys.readouterr().err
    monkeypatch.setitem(audit.ACCEPTED, "GHSA-xxxx", "tests only")
    assert audit.main(root=root, url=service) == 0
    assert "NOT audited" not in capsys.readouterr().err


def test_another_version_than_the_locked_one_is_told() -> None:
    assert audit.installed({"pytest": "0.1"})[0].startswith("pytest ")


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("Apache-2.0 OR GPL-3.0-only", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-3.0-only", False),
        ("", False),
    ],
)
def test_a_licence_is_on_the_list_or_not(licence: str, allowed: bool) -> None:
    assert audit.allowed(licence) is allowed

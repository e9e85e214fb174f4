from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from include.base.errors import ConfigurationError
from include.base.settings import Settings, available_cores, load_settings


def test_everything_is_beneath_the_home_by_default(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "a b")

    assert settings.catalog_url == f"sqlite:///{tmp_path}/a b/catalog.db"
    assert settings.store_uri == (tmp_path / "a b" / "store").as_uri()
    assert settings.mezzanine_roots == (tmp_path / "a b" / "mezzanines",)
    assert settings.scratch == tmp_path / "a b" / "scratch"


def test_a_relative_home_becomes_absolute_so_that_every_process_means_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CALLSHEET_HOME", "here")

    assert load_settings().home == tmp_path / "here"


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSHEET_MEZZANINE_ROOTS", "/one, /two,,")
    monkeypatch.setenv("CALLSHEET_ALLOWED_ORIGINS", "http://a:1,https://b")

    settings = load_settings()

    assert settings.mezzanine_roots == (Path("/one"), Path("/two"))
    assert settings.allowed_origins == ("http://a:1", "https://b")


@pytest.mark.parametrize(
    ("name", "value"),
    [("RELEASE_WINDOW", "0"), ("RELEASE_WINDOW", "many"), ("ENCODE_SLOTS", ""), ("RUNTIME", "cloud"),
     ("DECODE_ERROR_TOLERANCE", "2"), ("LOUDNESS_TARGET_LUFS", "3"), ("WORK_RETENTION_H", "-1")],
)  # fmt: skip
def test_a_wrong_value_names_its_variable_and_itself(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"CALLSHEET_{name}", value)

    with pytest.raises(ConfigurationError, match=rf"^CALLSHEET_{name}: .*\(got '{value}'\)"):
        load_settings()


def test_a_secret_does_not_show_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSHEET_WEBHOOK_SECRET", "topsecret")
    settings = load_settings()

    assert "topsecret" not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert settings.webhook_secret.get_secret_value() == "topsecret"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().release_window = 9  # type: ignore[misc]  # that is the point


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, "CALLSHEET_WORKER_IMAGE"),
        ({"CALLSHEET_WORKER_IMAGE": "callsheet-worker:1"}, "CALLSHEET_STORE_URI=s3://"),
    ],
)
def test_pods_need_an_image_and_a_store_that_they_can_reach(
    given: dict[str, str], wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLSHEET_RUNTIME", "kubernetes")
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=wanted):
        load_settings()


@pytest.mark.parametrize(
    ("limit", "cores"), [(None, 6), ("max 100000", 6), ("200000 100000", 2), ("50000 100000", 1), ("9900000 100000", 6)]
)
def test_a_containers_share_of_the_cpus_is_all_it_has(
    limit: str | None, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)))
    if limit is not None:
        (tmp_path / "cpu.max").write_text(limit + "\n")

    assert available_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("secret", "keys"),
    [
        ("", ()),
        ("plain text", (b"plain text",)),
        ("whsec_a2V5", (b"key",)),
        ("whsec_a2V5cw", (b"keys",)),
        ("whsec_a2V5cw==", (b"keys",)),
        ("whsec_a2V5, older,", (b"key", b"older")),
    ],
)
def test_a_webhook_secret_is_base64_or_plain_text_and_may_be_several(secret: str, keys: tuple[bytes, ...]) -> None:
    assert keys == Settings(webhook_secret=SecretStr(secret)).webhook_keys


@pytest.mark.parametrize("secret", ["whsec_", "whsec_not-base64!", "older,whsec_x"])
def test_a_webhook_secret_that_is_none_is_refused_without_being_shown(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLSHEET_WEBHOOK_SECRET", secret)

    with pytest.raises(ConfigurationError, match=r"^CALLSHEET_WEBHOOK_SECRET: whsec_ must be followed by") as caught:
        load_settings()

    shown = "".join(traceback.format_exception(caught.value))
    assert not any(part in shown for part in ("not-base64", "older"))

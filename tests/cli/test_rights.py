"""Rights by batch, endpoint by endpoint: with rights on one batch alone nobody learns or changes anything of another.

The endpoints are those that the application itself has: a new one fails here until it says to whom it is open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import httpx
import pytest
from fastapi.routing import APIRoute

from include.adapters.catalog import Catalog
from include.adapters.store.local import LocalStore
from include.api.app import app
from include.base.errors import EncoderCrashed
from include.base.settings import Settings
from include.domain.title.steering import Steering
from include.domain.title.title import Origin, State
from tests.catalog.samples import a_batch, publish
from tests.cli.rights import RIGHTS
from tests.orchestration.airflow_server import AirflowServer

NOW = datetime.now(UTC).replace(microsecond=0)
CHANGE = {"pin": True, "why": "the boss"}
SIGNALS = {"signals": {"views_last_hour": 9}}
FILM = {"duration_s": 7200, "width": 3840, "height": 2160, "frame_rate": 25}
QUOTED = {
    "batch_id": "quoted",
    "titles": [
        {"title_id": f"film{n}", "mezzanine": "file:///media/a.mov", "tier": "premium", "source": FILM,
         "publish_at": (NOW + timedelta(hours=6)).isoformat()}
        for n in range(30)
    ],
}  # fmt: skip
Answer = Any
Batches = Callable[[Answer], set[str]]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """How an endpoint is called about the batch ``spring``, and which right it asks for."""

    asks: Literal["login", "read", "edit", "lists", "post", "all"]
    path: str = ""
    """As it is called; empty where that is the path of its route."""
    body: Any = None
    batches: Batches = lambda answer: set()
    """Of an answer that lists: ids of the batches that it says something about."""


def of_requests(found: list[Any]) -> set[str]:
    return {each["request_id"].partition("/")[0] for each in found}


PAGE = Endpoint(asks="login")
ENDPOINTS = {
    # What these say is the same for everybody and about no batch.
    "GET /queue": PAGE, "GET /queue/queue.js": PAGE, "GET /queue/queue.css": PAGE, "GET /api/v1/health": PAGE,
    "GET /api/v1/batches/{batch_id}": Endpoint(asks="read", path="/api/v1/batches/spring"),
    "GET /api/v1/titles/{title_id}": Endpoint(asks="read", path="/api/v1/titles/done"),
    "GET /api/v1/titles/{batch_id}/{title_id}": Endpoint(asks="read", path="/api/v1/titles/spring/done"),
    "GET /media/titles/{title_id}/{path:path}": Endpoint(asks="read", path="/media/titles/done/v1/hls.m3u8"),
    "POST /api/v1/titles/{title_id}/signals": Endpoint(asks="edit", path="/api/v1/titles/open/signals", body=SIGNALS),
    "POST /api/v1/titles/{batch_id}/{title_id}/signals": Endpoint(
        asks="edit", path="/api/v1/titles/spring/open/signals", body=SIGNALS
    ),
    "PATCH /api/v1/titles/{title_id}": Endpoint(asks="edit", path="/api/v1/titles/open", body=CHANGE),
    "PATCH /api/v1/titles/{batch_id}/{title_id}": Endpoint(
        asks="edit", path="/api/v1/titles/spring/open", body=CHANGE
    ),
    "POST /api/v1/titles/{batch_id}/{title_id}/replay": Endpoint(
        asks="edit", path="/api/v1/titles/spring/done/replay"
    ),
    "POST /api/v1/titles/{batch_id}/{title_id}/webhooks/replay": Endpoint(
        asks="edit", path="/api/v1/titles/spring/done/webhooks/replay"
    ),
    "GET /api/v1/batches": Endpoint(asks="lists", batches=lambda found: {each["batch_id"] for each in found}),
    "GET /api/v1/dead-letters": Endpoint(asks="lists", batches=of_requests),
    "GET /api/v1/queue": Endpoint(asks="lists", batches=lambda found: of_requests(found["titles"])),
    "POST /api/v1/quotes": Endpoint(
        asks="post", body=QUOTED, batches=lambda found: of_requests(found["displaced"])
    ),
    "POST /api/v1/weights": Endpoint(asks="all"),
}  # fmt: skip


def which(*asks: str) -> list[str]:
    return [name for name, endpoint in ENDPOINTS.items() if endpoint.asks in asks]


@pytest.fixture
def asked(server: str, airflow: AirflowServer, tokens: dict[str, str]) -> Any:
    """Calls an endpoint as one of the users, or as nobody."""

    def ask(name: str, user: str | None) -> httpx.Response:
        endpoint, (method, path) = ENDPOINTS[name], name.split(" ")
        headers = {"Authorization": f"Bearer {tokens[user]}"} if user else {}
        address = f"{server}/callsheet{endpoint.path or path}"
        return httpx.request(method, address, json=endpoint.body, headers=headers)

    return ask


@pytest.fixture
def two_batches(catalog: Catalog, settings: Settings) -> Catalog:
    """Two batches alike: in each a title is published, one failed, and one waits and is held."""
    store = LocalStore(settings.home / "store")
    due = (NOW + timedelta(hours=6)).isoformat()
    for batch_id, prefix in (("spring", ""), ("summer", "other-")):
        names = [f"{prefix}{name}" for name in ("done", "failed", "open")]
        batch = a_batch(batch_id, *names, publish_at=due, tier="ugc")
        catalog.batches.accept(batch, pipeline_version=3, now=NOW)
        requests = [f"{batch_id}/{name}" for name in names]
        publish(catalog, requests[0], now=NOW)
        catalog.titles.settle(requests[0], State.PUBLISHED, now=NOW)
        for name in ("v1/hls.m3u8", "current.json"):
            store.put_bytes(f"titles/{prefix}done/{name}", b'{"version": 1}')
        error = EncoderCrashed("x264 fell over", command="ffmpeg", stderr_tail="boom").document()
        catalog.history.record_dead_letter(requests[1], error=error, task="encode", replay_command="replay", now=NOW)
        catalog.titles.settle(requests[1], State.FAILED, reason="EncoderCrashed", message="x264 fell over", now=NOW)
    return catalog


def hold(catalog: Catalog) -> None:
    """So that no release after a change takes the titles that wait."""
    for request_id in ("spring/open", "summer/other-open"):
        catalog.queue.steer(request_id, Steering(hold=True, why="set up"), by="setup", now=NOW)


def test_every_endpoint_says_here_to_whom_it_is_open() -> None:
    routes = [route for route in app.routes if isinstance(route, APIRoute)]

    assert {f"{method} {route.path}" for route in routes for method in route.methods} == set(ENDPOINTS)
    # FastAPI's own, which say how the endpoints are called and nothing else.
    rest = {getattr(route, "path", "") for route in app.routes if not isinstance(route, APIRoute)}
    assert rest == {"/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_nobody_gets_anything_without_a_login(name: str, asked: Any, two_batches: Catalog) -> None:
    before = len(two_batches.history.events())

    assert asked(name, None).status_code == 401
    assert len(two_batches.history.events()) == before


@pytest.mark.parametrize(
    "name", [name for name, endpoint in ENDPOINTS.items() if endpoint.body is not None or name.startswith("P")]
)
@pytest.mark.parametrize("authorization", [None, "Bearer forged"])
def test_no_body_is_read_before_the_login(name: str, authorization: str | None, server: str) -> None:
    """A body that is never sent whole would be waited for, and one that is no JSON answered with 422."""
    method, path = name.split(" ")
    headers = {"Content-Type": "application/json"} | ({"Authorization": authorization} if authorization else {})
    address = f"{server}/callsheet{ENDPOINTS[name].path or path}"

    answer = httpx.request(method, address, content=b"{no json", headers=headers)

    assert answer.status_code == (403 if authorization else 401)


def test_a_reader_of_a_batch_sees_the_origin_of_its_callback_and_no_token(
    server: str, tokens: dict[str, str], catalog: Catalog
) -> None:
    for number, rest in enumerate(("/hooks/t0ken?key=t0ken", "?t0ken", "#t0ken", "/t0ken@x")):
        address = f"https://cms.example:8443{rest}"
        batch = a_batch(f"spring-{number}", "alpha", callback_url=address)
        catalog.batches.accept(batch, pipeline_version=3, now=NOW)
    headers = {"Authorization": f"Bearer {tokens['viewer']}"}

    for path in ("batches", "batches/spring-0"):
        answer = httpx.get(f"{server}/callsheet/api/v1/{path}", headers=headers)
        assert "t0ken" not in answer.text
        found = answer.json() if path == "batches" else [answer.json()]
        assert {each["callback_url"] for each in found} == {"https://cms.example:8443"}


@pytest.mark.parametrize("name", which("login"))
@pytest.mark.parametrize("user", RIGHTS)
def test_what_is_about_no_batch_is_open_to_every_user(name: str, user: str, asked: Any) -> None:
    # This process is no deployment, hence not healthy.
    assert asked(name, user).status_code == (503 if name.endswith("health") else 200)


@pytest.mark.parametrize("name", which("read"))
def test_whoever_may_read_one_batch_reads_that_one_alone(name: str, asked: Any, two_batches: Catalog) -> None:
    assert [asked(name, user).status_code for user in ("spring_reader", "spring_editor", "viewer")] == [200] * 3
    stranger = asked(name, "summer_editor")
    assert stranger.status_code == 404
    assert set(stranger.json()) == {"detail"}


@pytest.mark.parametrize("name", which("edit"))
def test_whoever_may_edit_one_batch_changes_that_one_alone(name: str, asked: Any, two_batches: Catalog) -> None:
    hold(two_batches)
    before = len(two_batches.history.events())

    refused = {user: asked(name, user).status_code for user in ("summer_editor", "spring_reader", "viewer")}

    assert refused == {"summer_editor": 404, "spring_reader": 403, "viewer": 403}
    assert len(two_batches.history.events()) == before
    assert asked(name, "spring_editor").is_success


@pytest.mark.parametrize("name", which("lists"))
@pytest.mark.parametrize(
    ("user", "seen"),
    [
        ("viewer", {"spring", "summer"}),
        ("spring_reader", {"spring"}),
        ("spring_editor", {"spring"}),
        ("summer_editor", {"summer"}),
    ],
)
def test_a_list_names_the_batches_alone_that_its_reader_may_read(
    name: str, user: str, seen: set[str], asked: Any, two_batches: Catalog
) -> None:
    answer = asked(name, user)

    assert ENDPOINTS[name].batches(answer.json()) == seen
    for other in {"spring", "summer"} - seen:
        assert other not in answer.text


@pytest.mark.parametrize("path", ["batches", "dead-letters"])
def test_what_a_reader_may_not_see_takes_no_place_in_a_short_list(
    path: str, server: str, tokens: dict[str, str], two_batches: Catalog
) -> None:
    """Both lists tell the newest first, and the batch ``summer`` is the newer one."""

    def listed(user: str) -> set[str]:
        headers = {"Authorization": f"Bearer {tokens[user]}"}
        found = httpx.get(f"{server}/callsheet/api/v1/{path}?limit=1", headers=headers).json()
        return {each.get("batch_id") or each["request_id"].partition("/")[0] for each in found}

    assert {user: listed(user) for user in ("viewer", "spring_reader", "summer_editor", "autumn_reader")} == {
        "viewer": {"summer"}, "spring_reader": {"spring"}, "summer_editor": {"summer"}, "autumn_reader": set(),
    }  # fmt: skip


def test_the_queue_counts_what_its_reader_may_read_and_says_what_they_may_edit(
    asked: Any, two_batches: Catalog
) -> None:
    shown = {user: asked("GET /api/v1/queue", user).json() for user in ("spring_reader", "spring_editor", "viewer")}

    assert {user: queue["counts"]["open"] for user, queue in shown.items()} == {
        "spring_reader": 1, "spring_editor": 1, "viewer": 2,
    }  # fmt: skip
    assert {user: [each["may_edit"] for each in queue["titles"]] for user, queue in shown.items()} == {
        "spring_reader": [False], "spring_editor": [True], "viewer": [False, False],
    }  # fmt: skip


@pytest.mark.parametrize("name", which("post"))
def test_a_quote_is_for_those_who_may_post_and_names_what_they_may_read(
    name: str, asked: Any, two_batches: Catalog
) -> None:
    for user in ("spring_reader", "spring_editor", "summer_editor", "viewer"):
        assert asked(name, user).status_code == 403, user
    answers = {user: asked(name, user).json() for user in ("cms", "spring_poster")}

    assert {user: ENDPOINTS[name].batches(answer) for user, answer in answers.items()} == {
        "cms": {"spring", "summer"}, "spring_poster": {"spring"},
    }  # fmt: skip


@pytest.mark.parametrize("name", which("all"))
def test_what_concerns_all_batches_asks_for_rights_on_all_of_them(name: str, asked: Any, two_batches: Catalog) -> None:
    for user in (*RIGHTS, "viewer"):
        assert asked(name, user).status_code == 403, user
    assert asked(name, "cms").status_code == 200


def get(server: str, tokens: dict[str, str], user: str, path: str) -> int:
    headers = {"Authorization": f"Bearer {tokens[user]}"}
    return httpx.get(f"{server}/callsheet{path}", headers=headers).status_code


def put_version(catalog: Catalog, store: LocalStore, request_id: str) -> int:
    """Publish a request's version of the title ``done`` and let the pointer name it."""
    version = publish(catalog, request_id, now=NOW)
    store.put_bytes(f"titles/done/v{version}/hls.m3u8", b"#EXTM3U")
    store.put_bytes("titles/done/current.json", b'{"version": %d}' % version)
    return version


def test_naming_a_title_in_a_batch_of_ones_own_shows_nothing_of_another_batchs_versions(
    server: str, tokens: dict[str, str], two_batches: Catalog, settings: Settings
) -> None:
    """As it may be with titles of the release before, which belong to nobody."""
    two_batches.batches.accept(a_batch("autumn", "done"), pipeline_version=3, now=NOW)
    first, pointer, second = (f"/media/titles/done/{name}" for name in ("v1/hls.m3u8", "current.json", "v2/hls.m3u8"))

    def seen(user: str) -> list[int]:
        return [get(server, tokens, user, path) for path in (first, pointer, second)]

    assert (seen("autumn_reader"), seen("spring_reader")) == ([404, 404, 404], [200, 200, 404])
    assert put_version(two_batches, LocalStore(settings.home / "store"), "autumn/done") == 2
    assert (seen("autumn_reader"), seen("spring_reader")) == ([404, 200, 200], [200, 404, 404])


def test_a_repeat_is_seen_and_changed_by_those_who_have_rights_on_the_batch_that_it_repeats(
    server: str, airflow: AirflowServer, tokens: dict[str, str], two_batches: Catalog, settings: Settings
) -> None:
    batch = two_batches.batches.new_request_from("spring/done", origin=Origin.REPAIR)
    two_batches.batches.accept(batch, pipeline_version=3, now=NOW)
    two_batches.queue.steer("spring-repair1/done", Steering(hold=True, why="set up"), by="setup", now=NOW)
    put_version(two_batches, LocalStore(settings.home / "store"), "spring-repair1/done")
    api, media = "/api/v1", "/media/titles/done"
    paths = [
        f"{api}/batches/spring-repair1", f"{api}/titles/spring-repair1/done", f"{api}/titles/done",
        f"{media}/v2/hls.m3u8", f"{media}/current.json",
    ]  # fmt: skip

    assert {path: get(server, tokens, "spring_reader", path) for path in paths} == dict.fromkeys(paths, 200)
    assert {path: get(server, tokens, "summer_editor", path) for path in paths} == dict.fromkeys(paths, 404)
    listed = {
        user: httpx.get(f"{server}/callsheet{api}/queue", headers={"Authorization": f"Bearer {tokens[user]}"}).json()
        for user in ("spring_editor", "summer_editor")
    }
    repeats = {
        user: [(each["batch_id"], each["may_edit"]) for each in queue["titles"] if each["title_id"] == "done"]
        for user, queue in listed.items()
    }
    assert repeats == {"spring_editor": [("spring-repair1", True)], "summer_editor": []}
    headers = {"Authorization": f"Bearer {tokens['spring_editor']}"}
    assert httpx.patch(f"{server}/callsheet{api}/titles/done", json=CHANGE, headers=headers).is_success


def test_a_quote_refuses_the_titles_of_another_tenant_as_intake_does(
    server: str, tokens: dict[str, str], catalog: Catalog
) -> None:
    catalog.batches.accept(a_batch("spring", "alpha"), pipeline_version=3, now=NOW, tenant="cms")
    mezzanine = "file:///media/a.mov"
    body = {"batch_id": "q", "titles": [{"title_id": name, "mezzanine": mezzanine} for name in ("alpha", "new")]}

    def refused(user: str) -> list[tuple[str, str]]:
        headers = {"Authorization": f"Bearer {tokens[user]}"}
        answer = httpx.post(f"{server}/callsheet/api/v1/quotes", json=body, headers=headers).json()
        return [(each["title_id"], each["field"]) for each in answer["refusals"]]

    assert (refused("cms"), refused("admin")) == ([], [("alpha", "title_id")])

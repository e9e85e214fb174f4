"""What has to hold after an upgrade: every look returns what is wrong, in words, and nothing where all is well."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from include.domain.title.title import State
from tests.upgrade.home import DEADLINE, FILLED, FILLERS, Home, as_json, is_settled, reach

END_LIMIT_S = 600.0
BAD_WORDS = re.compile(r"ValidationError|CorruptDocument|is no whole ")


def steering(home: Home) -> list[str]:
    """Holds, pins and deadlines that the release of before had taken."""
    titles = {title.request_id: title for title in home.catalog.titles.find()}
    found = {"films/soon has its deadline": titles["films/soon"].deadline == DEADLINE}
    if home.expected is FILLED:
        held, pinned = titles["next/held"], titles["next/pinned"]
        found |= {
            "next/held is held": held.held,
            "next/held has its deadline": held.deadline == DEADLINE,
            "next/pinned is held and pinned": pinned.held and pinned.pinned,
        }
    return [f"no longer: {what}" for what, holds in found.items() if not holds]


def go_on(home: Home) -> None:
    """Let go what is held for the test's sake, replay the dead letter of a filled home, and wait for every end."""
    if home.expected is FILLED:
        _let_go(home)
    settling = [request for request, state in home.expected.ends.items() if state.final]
    reach(lambda: is_settled(home, *settling), "the end of every title", END_LIMIT_S)


def _let_go(home: Home) -> None:
    with home.client() as client:
        client.steer("next/pinned", {"hold": False, "why": "the upgrade's test"})
        for name in FILLERS:
            client.steer(f"fillers/{name}", {"cancel": True, "why": "the upgrade's test"})
        assert "films/dead" in {letter["request_id"] for letter in client.dead_letters(100)}
        good = home.settings.mezzanine_roots[0] / "twice.mp4"
        (home.settings.mezzanine_roots[0] / "dead.mp4").write_bytes(good.read_bytes())
        client.replay("films/dead")


def ends(home: Home) -> list[str]:
    """Titles that came to another end than theirs, or to none."""
    states = home.states()
    return [
        f"{request} is {states.get(request, 'lost')}, not {state}: {_message(home, request)}"
        for request, state in home.expected.ends.items()
        if states.get(request) != state
    ]


def _message(home: Home, request: str) -> str | None:
    found = home.catalog.titles.get(request)
    return found.message if found else None


def encoded_twice(home: Home, finished: set[str]) -> list[str]:
    """Renditions that the release of before had finished and today's encoded again."""
    again = set(home.encodes_since(home.stopped_at))
    return [f"{name} was finished before the stop and encoded again" for name in sorted(finished & again)]


def versions(home: Home) -> list[str]:
    """Published versions whose files or report cannot be read."""
    wrong = []
    for title, count in home.expected.versions.items():
        if home.store.size(f"titles/{title}/current.json") is None:
            wrong.append(f"{title} is not published")
            continue
        pointer = as_json(home, f"titles/{title}/current.json")
        if (pointer["version"], pointer["whole"]) != (count, True):
            wrong.append(
                f"{title} shows version {pointer['version']}, whole: {pointer['whole']}; {count} were expected"
            )
        for version in range(1, count + 1):
            prefix = f"titles/{title}/v{version}"
            lacking = {"hls.m3u8", "dash.mpd", "preview.html", "report.json"} - home.store.list(prefix).keys()
            if lacking:
                wrong.append(f"{prefix} lacks {sorted(lacking)}")
                continue
            report = as_json(home, f"{prefix}/report.json")
            if not {"title_id", "plan", "renditions"} <= report.keys():
                wrong.append(f"{prefix}/report.json says {sorted(report)} alone")
    return wrong


def _complaint(what: str, read: Callable[[], object]) -> list[str]:
    try:
        read()
    except Exception as error:
        return [f"{what} cannot be read: {error}"]
    return []


def webhooks(home: Home) -> list[str]:
    """Webhooks that are still owed, and ends of titles that nobody was told of."""
    told = {(each.json["type"], each.json["data"].get("request_id")) for each in home.receiver.requests}
    wrong = [
        f"nobody was told that {request} is {state}"
        for request, state in home.expected.ends.items()
        if state.final and (f"title.{state}", request) not in told
    ]
    rows = [row for request in home.expected.ends for row in home.catalog.outbox.of_request(request)]
    owed = [row for row in rows if row.state != "delivered"]
    return wrong + [f"{row.request_id}: {row.type} is {row.state}: {row.last_error}" for row in owed]


def moved(home: Home, live: set[str]) -> list[str]:
    """Runs under way at the stop, and not cancelled since, whose move is not told in the history."""
    live = {request for request in live if home.expected.ends[request] is not State.CANCELLED}
    kinds = {event.request_id for event in home.catalog.history.events(limit=5000) if event.kind == "title.moved"}
    return [f"{request}: no event says that its run began again" for request in sorted(live - kinds)]


def api_views(home: Home) -> list[str]:
    """Pages of today's API that do not answer for what the release of before has entered."""
    wrong: list[str] = []
    batches = {request.partition("/")[0] for request in home.expected.ends}
    with home.client() as client:
        asks: dict[str, Callable[[], Any]] = {
            "the queue": partial(client.queue, 100),
            "the dead letters": partial(client.dead_letters, 100),
            **{f"title {name}": partial(client.title, name) for name in home.expected.ends},
            **{f"batch {name}": partial(client.batch, name) for name in batches},
        }
        for what, ask in asks.items():
            wrong += _complaint(what, ask)
    return wrong


def import_errors(home: Home) -> list[str]:
    """DAGs that Airflow cannot import."""
    with home.api() as api:
        found = api.request("GET", "/api/v2/importErrors")
    return [f"{each['filename']}: {each['stack_trace'][-500:]}" for each in found["import_errors"]]


def task_logs(home: Home) -> list[str]:
    """Lines of task logs, written by today's release, that complain of a document."""
    logs = (home.settings.home / "airflow" / "logs").rglob("*.log")
    return [
        f"{path.relative_to(home.settings.home)}: {line[:600]}"
        for path in logs
        if path.stat().st_mtime > home.stopped_at
        for line in path.read_text(errors="replace").splitlines()
        if BAD_WORDS.search(line) and _at(line) > home.stopped_at
    ]


def _at(line: str) -> float:
    """Unix time of a line of a task's log; one without counts as new."""
    try:
        return datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return float("inf")

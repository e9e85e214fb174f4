"""Whatever a CMS posts: refused with field and value, or rendered safely everywhere it goes."""

from __future__ import annotations

import ast
import json
import logging
import re
import shlex
import string
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from include.adapters.catalog import Stub
from include.adapters.ffmpeg.opening import input_argv
from include.adapters.slack import blocks, headline
from include.adapters.store.local import LocalStore
from include.base.document import canonical_json
from include.base.errors import CallsheetError, ErrorDocument, RequestRejected, StorageError, from_document, to_document
from include.base.faults import MAX_SHOWN
from include.base.text import MAX_SHOWN as LONGEST
from include.base.text import command_line, one_line
from include.domain.telling.alerts import Alert, Message
from include.domain.telling.webhooks import body
from include.domain.title.request import ParsedBatch, parse_batch
from include.domain.title.title import Tier, TitleJob
from include.orchestration.bundle import stub_text
from include.pipelines.runner import TaskJob
from include.worker import SafeFormatter

PIPELINES = frozenset({"vod"})
hostile = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
"""For each test of this file by its name: a profile would loosen those of every module that is imported after it."""

NASTY = [
    "",
    " ",
    "..",
    "../x",
    "/",
    "a/b",
    "a\nb",
    "a\r\nINFO forged: all is well",
    "\x1b[2J",
    "\0",
    "\u2028",
    "\u202e",
    "\ud800",
    "'",
    '"',
    '"""',
    "\\",
    "{batch_id!r}",
    "{0}",
    "%s",
    "%(x)s",
    "$(id)",
    "`id`",
    "-i",
    "; rm",
    "{{ ti }}",
    "{% x %}",
    "<!channel>",
    "<script>",
    "http://u:p@h/",
    "file:///a?b",
    "é",
    "\N{PILE OF POO}",
    "a" * 5000,
    "con",
    "__proto__",
    "nan",
]
TEXTS = st.one_of(st.sampled_from(NASTY), st.text(max_size=40))
IDS = st.one_of(TEXTS, st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=110))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
ADDRESSES = st.one_of(
    TEXTS,
    st.builds("{}://{}{}".format, st.sampled_from(["file", "s3", "https", "http", "ftp", "concat"]), TEXTS, TEXTS),
)
TITLES = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"title_id": IDS, "mezzanine": ADDRESSES},
        optional={
            "name": TEXTS,
            "checksum": TEXTS,
            "tier": TEXTS,
            "kind": TEXTS,
            "publish_at": st.one_of(TEXTS, st.integers(), st.datetimes().map(lambda when: when.isoformat() + "Z")),
            "signals": JSON,
            "subtitles": st.lists(st.fixed_dictionaries({"uri": ADDRESSES, "language": TEXTS}), max_size=2),
            "languages": st.lists(TEXTS, max_size=2),
            "territories": st.lists(TEXTS, max_size=2),
            "metadata": JSON,
        },
    ),
)
BATCHES = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"batch_id": IDS, "titles": st.lists(TITLES, max_size=3)},
        optional={"pipeline": st.one_of(st.just("vod"), TEXTS), "callback_url": ADDRESSES, "more": JSON},
    ),
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
GOOD = {"title_id": "t", "mezzanine": "file:///m/a.mp4"}


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@hostile
@given(BATCHES)
def test_a_request_is_accepted_or_refused_with_field_and_value_and_nothing_else(conf: Any) -> None:
    batch = _parsed(conf)
    if batch is None:
        return

    for title in batch.titles:
        job = _job(batch, title.title_id, title.model_dump())
        # Everything that later carries it: the job document, the webhook, the store.
        assert TitleJob.from_json(job.to_json()) == job
        assert TaskJob.from_json(TaskJob(task="prepare", title=job, time_limit_s=1).to_json()).title == job
        assert json.loads(body(event_id="1", kind="x", created_at=NOW, data=title.model_dump(mode="json")))
    for refusal in batch.refusals:
        text = str(refusal)
        assert text.isprintable()
        assert refusal.field
        assert len(refusal.value) <= MAX_SHOWN


@pytest.mark.parametrize(
    "title",
    [
        {**GOOD, "metadata": {"x": _deep(900)}},
        {**GOOD, "metadata": {"x": _deep(60)}},
        {**GOOD, "metadata": {"x": "\0"}},
        {**GOOD, "metadata": {"\0": 1}},
        {**GOOD, "metadata": {"x": float("nan")}},
        {**GOOD, "metadata": {"x": "\ud800"}},
        {**GOOD, "metadata": {"x": "y" * 10_000_000}},
        {**GOOD, "name": "y" * 10_000_000},
        {**GOOD, "name": "\ud800"},
        {**GOOD, "name": "two\u2028lines"},
        {**GOOD, "name": "\x9b31m"},
        {**GOOD, "mezzanine": "https://user:hunter2@h.example/a.mp4"},
        {**GOOD, "mezzanine": "file:///" + "a" * 10_000_000},
        {**GOOD, "signals": {"views_last_hour": 10**400}},
        {**GOOD, "signals": {"views_last_hour": float("inf")}},
        {**GOOD, "publish_at": 10**30},
        {**GOOD, "title_id": "t\n"},
        {**GOOD, "x" * 100_000: 1},
        _deep(900),
        10**4200,
    ],
)
def test_what_no_later_reader_could_bear_is_refused_with_a_short_reason(title: Any) -> None:
    with pytest.raises(RequestRejected) as caught:
        parse_batch({"batch_id": "b", "titles": [title]}, pipelines=PIPELINES)

    assert len(caught.value.message) < 1000
    assert caught.value.message.isprintable()
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize(
    "conf", [_deep(100_000), {"batch_id": _deep(100_000)}, {"batch_id": 10**5000, "titles": []}, {1: 2}]
)
def test_a_request_that_is_no_json_at_all_is_refused(conf: Any) -> None:
    with pytest.raises(RequestRejected):
        parse_batch(conf, pipelines=PIPELINES)


def test_a_thousand_bad_titles_and_a_good_one_are_told_apart_quickly() -> None:
    bad = [{**GOOD, "title_id": "../" * 30, "metadata": {"x": "y" * 50_000}} for _ in range(999)]

    batch = parse_batch({"batch_id": "b", "titles": [*bad, GOOD]}, pipelines=PIPELINES)

    assert [title.title_id for title in batch.titles] == ["t"]
    assert sum(len(str(refusal)) for refusal in batch.refusals) < 1_000_000


@hostile
@given(TEXTS, TEXTS, st.integers())
@example("'''\n\"\"\"", "{batch_id!r}", 1)
def test_a_stub_is_python_that_means_its_literals_whatever_they_are(batch_id: str, pipeline: str, version: int) -> None:
    text = stub_text(Stub(batch_id=batch_id, pipeline=pipeline, pipeline_version=version))

    assert text.encode("utf-8")
    tree = ast.parse(text)
    kinds = [type(each) for each in tree.body]
    assert kinds == [ast.ImportFrom, ast.Assign]
    call = tree.body[1].value  # type: ignore[attr-defined]
    assert {word.arg: ast.literal_eval(word.value) for word in call.keywords} == {
        "batch_id": batch_id,
        "pipeline": pipeline,
        "pipeline_version": version,
    }


@hostile
@given(TEXTS)
def test_a_store_key_is_inside_of_the_store_or_refused(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    root = tmp_path_factory.getbasetemp() / "fuzzed-store"
    store = LocalStore(root)
    try:
        path = store.readable(key)
    except StorageError as error:
        refused = error
    else:
        assert re.fullmatch(re.escape(str(root)) + r"(/[A-Za-z0-9_][A-Za-z0-9_.=-]*)+", path)
        return
    assert refused.reason == "bad_key"
    assert refused.message.isprintable()


@hostile
@given(st.text(min_size=1, max_size=60).filter(lambda text: "://" not in text))
def test_a_path_is_one_argument_that_is_no_option(path: str) -> None:
    argv = input_argv(path)

    assert argv[-2:] == ["-i", f"file:{path}"]


@hostile
@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_a_logged_command_is_one_line(argv: list[str]) -> None:
    line = command_line(argv)

    assert line.isprintable() or not line
    if all(part.isprintable() and "://" not in part for part in argv):
        assert shlex.split(line) == argv


@hostile
@given(TEXTS, TEXTS)
def test_a_log_record_is_one_line(message: str, name: str) -> None:
    record = logging.LogRecord(f"include.{name}", logging.INFO, "", 0, "%s: %s", (message, name), None)

    assert SafeFormatter("%(levelname)s %(name)s: %(message)s").format(record).isprintable()


@hostile
@given(st.text(max_size=200) | TEXTS)
def test_an_error_is_one_short_line_that_survives_its_document(text: str) -> None:
    error = RequestRejected(text)
    foreign = to_document(ValueError(text))

    assert error.message.isprintable()
    assert foreign.message.isprintable()
    again = from_document(ErrorDocument.from_json(to_document(error).to_json()))
    assert isinstance(again, CallsheetError)
    assert again.message == error.message
    assert len(one_line("x" * 10_000_000)) == LONGEST


@hostile
@given(TEXTS, TEXTS, TEXTS)
def test_a_name_in_slack_neither_links_nor_calls_the_channel(name: str, message: str, cause: str) -> None:
    alert = Alert(
        id=1,
        title_id="t",
        request_id="b/t",
        level="failed",
        cause=cause,
        message=message,
        name=name,
        dag_id="d",
        created_at=NOW,
        run_id=None,
        preview=message,
        publish_at=None,
        owner=None,
        replay_command=None,
    )
    told = Message(level="failed", cause=cause, alerts=(alert,))

    text = headline(told) + canonical_json(blocks(told, ""))

    assert not re.search(r"<[!@#]", text)
    assert all(part.startswith(("http://", "https://")) for part in re.findall(r"<([^|>]*)\|", text))


def _parsed(conf: Any) -> ParsedBatch | None:
    try:
        return parse_batch(conf, pipelines=PIPELINES)
    except RequestRejected as error:
        refused = error
    assert refused.message.isprintable()
    assert len(refused.message) <= LONGEST
    assert refused.reason
    return None


def _job(batch: ParsedBatch, title_id: str, fields: dict[str, Any]) -> TitleJob:
    known = {name: fields[name] for name in ("mezzanine", "checksum", "name", "kind", "publish_at", "metadata")}
    return TitleJob(
        request_id=f"{batch.batch_id}/{title_id}",
        batch_id=batch.batch_id,
        title_id=title_id,
        run_key=f"{batch.batch_id}.1",
        pipeline=batch.pipeline,
        pipeline_version=1,
        tier=Tier(fields["tier"]),
        **known,
    )

"""Batch requests: what is accepted, what is refused and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from include.base.errors import RequestRejected
from include.domain.title.request import MAX_METADATA_BYTES, MAX_TITLES, ParsedBatch, batch_schema, parse_batch

PIPELINES = frozenset({"vod", "vod-download"})
TITLE: dict[str, Any] = {"title_id": "alpha", "mezzanine": "file:///media/alpha.mov"}
FULL: dict[str, Any] = {
    "batch_id": "spring",
    "pipeline": "vod",
    "callback_url": "https://cms.example/hook",
    "titles": [
        {
            **TITLE,
            "checksum": "sha256:" + "0" * 64,
            "name": "Alpha × Ω",
            "tier": "premium",
            "kind": "movie",
            "publish_at": "2026-03-01T12:00:00+01:00",
            "wait_until": "2026-03-01T10:00:00Z",
            "signals": {"predicted_views_7d": 1, "views_last_hour": 0.5, "watch_minutes_7d": 1e6},
            "subtitles": [{"uri": "https://x.example/a.srt", "language": "pt-BR"}],
            "languages": ["en", "de-CH"],
            "territories": ["DE", "FR"],
            "metadata": {"cms": {"id": 7, "tags": [None, True, "x"]}},
        }
    ],
}


def parse(*titles: Any, **fields: Any) -> ParsedBatch:
    return parse_batch({"batch_id": "spring", "titles": list(titles or (TITLE,)), **fields}, pipelines=PIPELINES)


def refusal(**changes: Any) -> tuple[str, str, str]:
    """Field, value and reason of the refusal of a title with these fields, beside a good one."""
    batch = parse({**TITLE, "title_id": "good"}, {**TITLE, **changes})
    assert [title.title_id for title in batch.titles] == ["good"]
    first = batch.refusals[0]
    assert first.index == 1
    return first.field, first.value, first.reason


def test_a_full_request_is_accepted_with_its_times_in_utc() -> None:
    batch = parse_batch(FULL, pipelines=PIPELINES)

    assert batch.refusals == ()
    (title,) = batch.titles
    assert title.publish_at == datetime(2026, 3, 1, 11, 0, tzinfo=UTC)
    assert title.publish_at.tzinfo is UTC
    assert title.subtitles[0].language == "pt-BR"
    assert title.metadata == {"cms": {"id": 7, "tags": [None, True, "x"]}}


def test_a_short_request_has_defaults() -> None:
    batch = parse()

    assert (batch.pipeline, batch.callback_url) == ("vod", None)
    (title,) = batch.titles
    assert (title.tier, title.kind, title.territories, title.metadata) == ("standard", None, (), {})
    assert title.signals.predicted_views_7d is None


@pytest.mark.parametrize(
    ("changes", "field", "value", "reason"),
    [
        ({"title_id": "../x"}, "title_id", "'../x'", "an id is 1 to 100 letters"),
        ({"title_id": "-x"}, "title_id", "'-x'", "an id is 1 to 100 letters"),
        ({"title_id": "x\n"}, "title_id", "'x\\n'", "an id is 1 to 100 letters"),
        ({"title_id": "x" * 101}, "title_id", "'" + "x" * 101 + "'", "an id is 1 to 100 letters"),
        ({"title_id": 7}, "title_id", "7", "valid string"),
        ({"mezzanine": "ftp://x/y"}, "mezzanine", "'ftp://x/y'", "must start with file:// or s3://"),
        ({"mezzanine": "/etc/passwd"}, "mezzanine", "'/etc/passwd'", "must start with file://"),
        ({"mezzanine": "file:///a\0b"}, "mezzanine", "'file:///a\\x00b'", "control characters are not allowed"),
        ({"mezzanine": "file:///" + "a" * 2048}, "mezzanine", None, "at most 2048"),
        ({"checksum": "md5:0"}, "checksum", "'md5:0'", "must be sha256: and then 64 digits"),
        ({"checksum": "sha256:" + "A" * 64}, "checksum", None, "must be sha256: and then 64 digits"),
        ({"name": "a\x1b[31mb"}, "name", "'a\\x1b[31mb'", "control characters are not allowed"),
        ({"tier": "gold"}, "tier", "'gold'", "'premium', 'standard' or 'ugc'"),
        ({"kind": "opera"}, "kind", "'opera'", "'movie'"),
        ({"publish_at": "tomorrow"}, "publish_at", "'tomorrow'", "valid datetime"),
        ({"publish_at": "2026-03-01T12:00:00"}, "publish_at", None, "timezone"),
        ({"publish_at": "0001-01-01T00:00:00+14:00"}, "publish_at", None, "outside of the calendar in UTC"),
        ({"wait_until": "9999-12-31T23:59:59-14:00"}, "wait_until", None, "outside of the calendar in UTC"),
        ({"signals": {"views": 1}}, "signals.views", "1", "unknown field"),
        ({"signals": {"views_last_hour": -1}}, "signals.views_last_hour", "-1", "greater than or equal to 0"),
        ({"signals": {"views_last_hour": float("nan")}}, "signals.views_last_hour", "nan", ""),
        ({"subtitles": [{"uri": "x", "language": "en"}]}, "subtitles.0.uri", "'x'", "must start with"),
        ({"subtitles": [{"uri": "file:///x", "language": "english!"}]}, "subtitles.0.language", None, "en, pt-BR"),
        ({"territories": ["de"]}, "territories.0", "'de'", "two capital letters"),
        ({"source": {"programme": 0}}, "source.programme", "0", "greater than or equal to 1"),
        ({"source": {"audio_layouts": ["quad"]}}, "source.audio_layouts.0", "'quad'", "'5.1' or '7.1'"),
        ({"languages": ["en"] * 51}, "languages", None, "at most 50"),
        ({"metadata": []}, "metadata", "[]", "dictionary"),
        ({"metadata": {"x": "é" * MAX_METADATA_BYTES}}, "metadata", None, "may not exceed 65536 bytes"),
        ({"metadata": {"x": float("nan")}}, "metadata", None, "not JSON compliant"),
        ({"metadata": {"x": ["\ud800"]}}, "metadata", None, "surrogates not allowed"),
        ({"surprise": 1}, "surprise", "1", "unknown field"),
        ({"a\nERROR all is lost": 1}, "a\\nERROR all is lost", "1", "unknown field"),
    ],
)  # fmt: skip
def test_a_bad_title_is_refused_alone_with_field_value_and_reason(
    changes: dict[str, Any], field: str, value: str | None, reason: str
) -> None:
    found = refusal(**changes)

    assert found[0] == field
    assert reason in found[2]
    assert "pattern" not in found[2]
    assert value is None or found[1] == value
    assert len(found[1]) <= 120
    assert found[1].isprintable()


def test_a_missing_field_is_said_to_be_nothing() -> None:
    batch = parse(TITLE, {"title_id": "beta"})

    (found,) = batch.refusals
    assert (found.title_id, found.field, found.value) == ("beta", "mezzanine", "nothing")
    assert str(found) == "beta: mezzanine: Field required (got nothing)"


@pytest.mark.parametrize("raw", [None, 7, "x", [], True])
def test_a_title_that_is_no_object_is_refused_by_its_place(raw: Any) -> None:
    (found, *_) = parse(TITLE, raw).refusals

    assert (found.title_id, found.field, found.index) == (None, "request", 1)
    assert str(found).startswith("titles[1]: request: ")


def test_every_fault_of_a_title_is_told() -> None:
    batch = parse(TITLE, {"title_id": "beta", "mezzanine": "x", "tier": "gold", "more": 1})

    assert [each.field for each in batch.refusals] == ["mezzanine", "tier", "more"]


def test_a_repeated_title_id_is_refused_and_the_first_counts() -> None:
    batch = parse({**TITLE, "name": "first"}, {**TITLE, "name": "second"})

    assert [title.name for title in batch.titles] == ["first"]
    assert "appears more than once" in batch.refusals[0].reason


@pytest.mark.parametrize(
    ("conf", "complaint"),
    [
        (None, r"must be a JSON object \(got None\)"),
        ([TITLE], "must be a JSON object"),
        ("x" * 1000, "must be a JSON object"),
        ({}, r"batch_id: Field required \(got nothing\); titles: Field required"),
        ({"batch_id": "a b", "titles": [TITLE]}, "batch_id: an id is 1 to 100 letters"),
        ({"batch_id": "a", "titles": []}, "titles: .*at least 1 item"),
        ({"batch_id": "a", "titles": [TITLE] * (MAX_TITLES + 1)}, "titles: .*at most 1000 items"),
        ({"batch_id": "a", "titles": {"0": TITLE}}, "titles: .*valid list"),
        ({"batch_id": "a", "titles": [TITLE], "pipeline": "os.system"},
         r"pipeline: no pipeline of this name is registered \(got 'os.system'; known: vod, vod-download\)"),
        ({"batch_id": "a", "titles": [TITLE], "callback_url": "file:///x"}, "callback_url: must start with https://"),
        ({"batch_id": "a", "titles": [TITLE], "callback_url": "https://x\n/"}, "callback_url: control characters"),
        ({"batch_id": "a", "titles": [TITLE], "extra": {}}, r"extra: unknown field \(got \{\}\)"),
        ({"batch_id": "a", "titles": [7, {}]}, r"titles\[0\]: request: .*; titles\[1\]: title_id: Field required"),
    ],
)  # fmt: skip
def test_a_wholly_bad_request_is_rejected_with_every_fault(conf: Any, complaint: str) -> None:
    with pytest.raises(RequestRejected, match=f"^.*{complaint}") as caught:
        parse_batch(conf, pipelines=PIPELINES)

    assert caught.value.reason in {"invalid_request", "unknown_pipeline", "no_valid_title"}


def test_a_full_batch_is_accepted() -> None:
    titles = [{**TITLE, "title_id": f"t{number}"} for number in range(MAX_TITLES)]

    assert len(parse(*titles).titles) == MAX_TITLES


def test_the_same_content_has_the_same_hash_whatever_its_order_and_another_has_another() -> None:
    turned = json.loads(json.dumps(FULL, sort_keys=True))
    other = {**FULL, "callback_url": "https://cms.example/other"}
    hashes = [parse_batch(conf, pipelines=PIPELINES).content_hash for conf in (FULL, turned, other)]

    assert hashes[0] == hashes[1] != hashes[2]


def test_refused_titles_count_in_the_hash() -> None:
    assert parse(TITLE, {"title_id": "x"}).content_hash != parse(TITLE).content_hash


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(
    st.dictionaries(st.sampled_from(["batch_id", "pipeline", "callback_url", "titles", "x"]), json_values) | json_values
)
def test_whatever_comes_it_is_parsed_or_rejected(conf: Any) -> None:
    try:
        parse_batch(conf, pipelines=PIPELINES)
    except RequestRejected as error:
        assert error.message.isprintable()  # noqa: PT017 - most of what comes here is rejected, not all


@given(json_values)
def test_whatever_a_title_is_it_spoils_no_other(raw: Any) -> None:
    batch = parse(TITLE, raw)

    assert [title.title_id for title in batch.titles] == ["alpha"]
    assert batch.refusals


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4))
def test_metadata_that_is_accepted_can_be_written_and_comes_back_as_it_was(metadata: Any) -> None:
    batch = parse({**TITLE, "title_id": "good"}, {**TITLE, "metadata": metadata})
    for title in batch.titles[1:]:
        text = title.to_json().encode()
        assert json.loads(text)["metadata"] == json.loads(json.dumps(metadata))


def test_the_schema_takes_the_examples_and_refuses_what_the_parser_refuses() -> None:
    schema = batch_schema()
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)

    assert schema["title"] == "Callsheet batch request"
    for good in (FULL, {"batch_id": "spring", "titles": [TITLE]}):
        assert list(validator.iter_errors(good)) == []
    for bad in ({}, {**FULL, "x": 1}, {**FULL, "titles": []}, {**FULL, "titles": [{**TITLE, "tier": "gold"}]},
                {**FULL, "batch_id": "a b"}):  # fmt: skip
        assert list(validator.iter_errors(bad)), bad

from __future__ import annotations

import inspect
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from include.base import errors
from include.base.document import Document, canonical_json, digest
from include.base.errors import (
    EXIT_CODES,
    CallsheetError,
    ErrorDocument,
    OutOfMemory,
    Owner,
    Retry,
    ToolFailed,
    from_document,
    to_document,
)
from include.domain.title.title import Tier, TitleJob

ALL = [
    each
    for _, each in inspect.getmembers(errors, inspect.isclass)
    if issubclass(each, CallsheetError) and each not in {CallsheetError, ToolFailed}
]


class Sample(Document):
    """A document."""

    name: str
    at: datetime | None = None
    share: float = 0.0


def test_the_same_document_gives_the_same_bytes() -> None:
    first = Sample(name="Ω", at=datetime(2026, 1, 1, tzinfo=UTC))

    assert first.to_json() == '{"at":"2026-01-01T00:00:00Z","name":"Ω","share":0.0}'
    assert Sample.from_json(first.to_json()) == first


def test_a_document_refuses_what_it_does_not_know_and_does_not_change() -> None:
    with pytest.raises(ValidationError):
        Sample.from_json('{"name": "x", "surprise": 1}')
    with pytest.raises(ValidationError):
        Sample.from_json("half a docu")
    with pytest.raises(ValidationError, match="frozen"):
        Sample(name="x").name = "y"  # type: ignore[misc]  # that is the point


def test_a_number_that_is_none_is_null() -> None:
    assert '"share":null' in Sample(name="x", share=float("nan")).to_json()


@given(st.recursive(st.none() | st.text(st.characters()) | st.integers(), lambda x: st.dictionaries(st.text(), x)))
def test_everything_has_a_digest(value: object) -> None:
    assert len(digest(value)) == 64
    assert digest(value) == digest(value)


def test_the_order_of_fields_does_not_count() -> None:
    assert canonical_json({"b": 1, "a": [2]}) == '{"a":[2],"b":1}'
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1}) != digest({"a": 2, "b": 2})


def made(cls: type[CallsheetError]) -> CallsheetError:
    if issubclass(cls, ToolFailed):
        return cls("it broke", command="ffmpeg -i 'a b'", stderr_tail="tail", reason="why")
    return cls("it broke", reason="why")


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_an_error_survives_the_way_from_the_worker_to_airflow(cls: type[CallsheetError]) -> None:
    document = ErrorDocument.from_json(made(cls).document().to_json())
    back = from_document(document)

    assert type(back) is cls
    assert back.document() == document
    assert back.exit_code == EXIT_CODES[cls.retry]
    assert str(back) == "it broke"


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_the_tree_in_the_docstring_has_every_error_with_owner_and_retry(cls: type[CallsheetError]) -> None:
    (line,) = [line for line in (errors.__doc__ or "").splitlines() if f" {cls.__name__} " in line]

    assert cls.owner.value in line
    assert cls.retry.value.replace("_", " ") in line


def test_tool_failures_carry_command_and_stderr() -> None:
    document = made(OutOfMemory).document()

    assert (document.command, document.stderr_tail, document.retry) == ("ffmpeg -i 'a b'", "tail", Retry.MORE_MEMORY)


@pytest.mark.parametrize(("error", "message"), [(KeyError("x"), "'x'"), (ValueError(), "ValueError")])
def test_a_foreign_error_is_the_platforms_and_worth_another_try(error: Exception, message: str) -> None:
    document = to_document(error)

    assert (document.owner, document.retry, document.message) == (Owner.PLATFORM, Retry.TRANSIENT, message)
    for _ in range(2):
        back = from_document(document)
        assert back.document() == document


def test_a_document_of_an_unknown_class_keeps_owner_and_retry() -> None:
    document = ErrorDocument(type="FromTheFuture", message="m", owner=Owner.STORAGE, retry=Retry.NEVER, reason="r")

    back = from_document(document)

    assert (back.owner, back.exit_code, back.document()) == (Owner.STORAGE, 64, document)


def test_a_tool_failure_without_its_command_is_still_one() -> None:
    document = ErrorDocument(type="EncoderCrashed", message="m", owner=Owner.ENCODER, retry=Retry.TRANSIENT)

    assert from_document(document).document() == document.model_copy(update={"command": "", "stderr_tail": ""})


def test_a_title_has_a_work_folder_for_each_attempt() -> None:
    job = TitleJob(
        request_id="b/t", batch_id="b", title_id="t", run_key="b.2", pipeline="vod", pipeline_version=1,
        mezzanine="file:///x", tier=Tier.UGC,
    )  # fmt: skip

    assert job.work == "work/t/b.2"

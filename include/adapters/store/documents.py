"""Documents in the object store, read back with care: other tools can write there too."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from include.adapters.store.interface import ObjectStore
from include.base.document import Document
from include.base.errors import StorageError
from include.base.faults import faults

D = TypeVar("D", bound=Document)


class CorruptDocument(StorageError):
    """What lies at a key is no whole document of its kind."""


def load_document(store: ObjectStore, key: str, kind: type[D]) -> D:
    """The document at ``key``; raises :class:`FileNotFoundError`, or :class:`CorruptDocument` with key and way out."""
    data = store.get_bytes(key)
    try:
        return kind.from_json(data)
    except ValidationError as error:
        raise CorruptDocument(
            f"{store.uri}/{key} ({len(data)} bytes) is no whole {kind.__name__}: {faults(error)[0].told}. "
            "Callsheet writes documents whole, so something else has touched it: remove it and clear "
            "the task that makes it",
            reason="corrupt_document",
        ) from error


def load_if_valid(store: ObjectStore, key: str, kind: type[D]) -> D | None:
    """The document at ``key``; None where there is none, or none that can be read: it is to be made again."""
    try:
        return load_document(store, key, kind)
    except (FileNotFoundError, CorruptDocument):
        return None

"""The base of everything that crosses a boundary as JSON: job documents, results, records."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """Frozen, refuses unknown fields, and serialises the same way every time."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, ser_json_inf_nan="null")

    def to_json(self) -> str:
        """Canonical JSON: the same document gives the same bytes."""
        # By way of pydantic's JSON: a number that is none becomes null there, and would be NaN in Python's.
        return canonical_json(json.loads(self.model_dump_json()))

    def without_defaults(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON's types: a release that does not know a field reads the rest."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The document of ``text``; raises :class:`pydantic.ValidationError` on anything else."""
        return cls.model_validate_json(text)


def canonical_json(value: Any) -> str:
    """``value`` as JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of ``value``'s canonical JSON."""
    # JSON may carry half a surrogate pair, which UTF-8 proper cannot.
    return hashlib.sha256(canonical_json(value).encode(errors="surrogatepass")).hexdigest()

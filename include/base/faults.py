"""What pydantic found wrong with data from outside, as field, value and reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from include.base.text import redacted

MAX_SHOWN = 120
"""Most characters of a foreign name or value that a message shows."""


class Fault(NamedTuple):
    """One thing that is wrong. Each part is one short, printable line without secrets."""

    field: str
    """Path of the field, its parts joined by dots; empty where the fault is about the whole."""
    value: str
    """What was given, as Python writes it; ``nothing`` for a field that is missing."""
    message: str
    """pydantic's, or that of a validator of ours."""
    kind: str
    """pydantic's word for the kind of fault."""

    @property
    def reason(self) -> str:
        """The message as a requester is told it."""
        return "unknown field" if self.kind == "extra_forbidden" else self.message

    @property
    def told(self) -> str:
        """Field and message, without what was given."""
        return f"{self.field}: {self.message}" if self.field else self.message


class Faulty(Protocol):
    """pydantic's error of a model, and FastAPI's of a request."""

    def errors(self) -> Any:
        """The faults as mappings with ``loc``, ``type``, ``msg`` and, where there is one, ``input``."""


def faults(error: Faulty, *, within: int = 0) -> list[Fault]:
    """Every fault, in the order of the fields.

    Args:
        error: What pydantic raised.
        within: So many first parts of each path are the caller's own and are left out.
    """
    return [_fault(found, within) for found in error.errors()]


def _fault(found: Mapping[str, Any], within: int) -> Fault:
    kind = found["type"]
    return Fault(
        # The name of an unknown field is of foreign origin as well.
        field=shown(".".join(str(part) for part in found["loc"][within:]), quoted=False),
        value="nothing" if kind == "missing" else shown(found.get("input")),
        message=found["msg"].removeprefix("Value error, "),
        kind=kind,
    )


def shown(value: Any, *, quoted: bool = True) -> str:
    """``value`` as one short, printable line for a log or a webhook."""
    try:
        text = redacted(ascii(value[: 4 * MAX_SHOWN] if isinstance(value, str) else value))
    except (RecursionError, ValueError):  # nested without end, or a number of more digits than Python writes
        text = f"<{type(value).__name__}>"
    text = text if quoted else text[1:-1]
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"

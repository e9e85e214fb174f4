"""What an operator, or the CMS, may change about a title that is under way."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from include.base.document import Document
from include.domain.title.request import Moment, Signals, plain
from include.domain.title.title import Tier


class Steering(Document):
    """A change to one title; what is left out stays."""

    publish_at: Moment | None = None
    """A new deadline."""
    tier: Tier | None = None
    hold: bool | None = None
    """True keeps a waiting title from being started, false lets it go again."""
    pin: bool | None = None
    """True puts it before every other title."""
    cancel: bool = False
    """Stop it: running work ends, nothing half-made is published; a first version that plays already stays."""
    why: Annotated[str, Field(min_length=3, max_length=500), AfterValidator(plain)]
    """For the record."""

    @model_validator(mode="after")
    def _says_something(self) -> Steering:
        changes = (self.publish_at, self.tier, self.hold, self.pin)
        if all(change is None for change in changes) and not self.cancel:
            raise ValueError("nothing is changed: give publish_at, tier, hold, pin or cancel")
        if self.cancel and any(change is not None for change in changes):
            raise ValueError("cancel stands alone")
        return self


class SignalUpdate(Document):
    """New signals of a title; a signal that is left out stays as it was."""

    signals: Signals
    why: Annotated[str, Field(min_length=3, max_length=500), AfterValidator(plain)] = "new signals"


def updated(known: Signals, new: Signals) -> Signals:
    """``known`` with what ``new`` says."""
    return known.model_copy(update=new.model_dump(exclude_none=True))

"""A title: what a batch request asks for, the states it passes, and the document that its tasks work from."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from include.base.document import Document


class Tier(StrEnum):
    """How much a title matters to the platform."""

    PREMIUM = "premium"
    STANDARD = "standard"
    UGC = "ugc"


class Kind(StrEnum):
    """What a title is."""

    MOVIE = "movie"
    SERIES = "series"
    TRAILER = "trailer"
    NEWS = "news"
    LIVE_EVENT = "live_event"
    UGC = "ugc"


class State(StrEnum):
    """Where one request of a title stands. ``waiting`` to ``playable`` are under way, the rest are final."""

    WAITING = "waiting"
    QUEUED = "queued"
    RUNNING = "running"
    PLAYABLE = "playable"
    PUBLISHED = "published"
    DEGRADED = "degraded"
    REJECTED = "rejected"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the request has come to its end."""
        return self in FINAL_STATES


FINAL_STATES = frozenset({State.PUBLISHED, State.DEGRADED, State.REJECTED, State.FAILED, State.CANCELLED})
GOOD_STATES = frozenset({State.PUBLISHED, State.DEGRADED})


class Origin(StrEnum):
    """Why a request of a title was made."""

    NEW = "new"
    """The CMS asked for it."""
    REPLAY = "replay"
    """Somebody asked for the title once more."""
    REPAIR = "repair"
    """It makes good what went wrong with an earlier request."""
    BACKFILL = "backfill"
    """It gives a title what an earlier request gave up for its deadline."""

    @property
    def makes_good(self) -> bool:
        """Whether such a request gives a title what an earlier one lacks: no deadline binds it."""
        return self in {Origin.REPAIR, Origin.BACKFILL}


class SubtitleFile(Document):
    """A subtitle file that the request brings beside the mezzanine."""

    uri: str
    language: str
    """BCP 47, e.g. ``en`` or ``pt-BR``."""
    label: str | None = None
    forced: bool = False
    hearing_impaired: bool = False
    default: bool = False


class TitleJob(Document):
    """One title of one batch, as every task of its run reads it: the root of the job documents."""

    request_id: str
    """``<batch_id>/<title_id>``: one request of a title. Later batches make new requests, hence new versions."""
    batch_id: str
    title_id: str
    run_key: str
    """Folder of this attempt's work, from batch, title and attempt."""
    pipeline: str
    pipeline_version: int
    mezzanine: str
    """``file://``, ``s3://`` or ``https://``."""
    checksum: str | None = None
    """``sha256:<hex>``, gates the publication."""
    name: str | None = None
    tier: Tier
    kind: Kind | None = None
    publish_at: datetime | None = None
    binding_deadline: datetime | None = None
    """The same where something may be given up for it."""
    playable_first: bool | None = None
    """Whether the core rungs go out as a first version; None leaves it to the tier."""
    wait_until: datetime | None = None
    """The mezzanine may arrive until then; None once that has passed by Airflow's clock: workers do not ask theirs."""
    subtitles: tuple[SubtitleFile, ...] = ()
    languages: tuple[str, ...] = ()
    """Languages of the audio tracks to keep; empty keeps all."""
    programme: int | None = None
    """Programme of a transport stream to publish; None for the first with a picture."""
    audio_layouts: tuple[str, ...] = ()
    """How the channels of all audio tracks, in their order, belong together; empty leaves it to the container."""
    territories: tuple[str, ...] = ()
    """ISO 3166-1 alpha-2; empty means everywhere."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    """Stored and handed back, never interpreted."""

    @property
    def work(self) -> str:
        """Store key of this attempt's work folder."""
        return f"work/{self.title_id}/{self.run_key}"

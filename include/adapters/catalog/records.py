"""What the catalog hands out: frozen documents, never rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

from include.base.document import Document
from include.base.errors import ErrorDocument
from include.domain.order.valuation import QueuedTitle, Valuation, Work
from include.domain.outcome.results import PackagedRendition
from include.domain.title.request import Refusal, SourceExtent, TitleRequest
from include.domain.title.title import Origin, State, SubtitleFile, TitleJob
from include.domain.title.work import FORMAT

TaskEvent = Literal["started", "finished", "failed"]
RepairKind = Literal[Origin.REPAIR, Origin.BACKFILL]
"""Something went wrong, and is made good at once; or was given up for the deadline, and waits for an idle farm."""
ProofOutcome = Literal["proved", "wrong", "given_up"]
"""Every frame is as it should be; a rendition is not; or it could not be told."""
OutboxState = Literal["pending", "delivered", "dead"]


def dag_id_of(batch_id: str) -> str:
    """Id of the DAG of a batch."""
    return f"batch__{batch_id}"


def rights_dag_id_of(dag_id: str, root_batch_id: str | None) -> str:
    """The DAG whose rights count for a batch: nobody was ever given any on the DAG of a repeat."""
    return dag_id_of(root_batch_id) if root_batch_id else dag_id


def under_rights(readable: Callable[[str], bool]) -> Callable[[Mapping[Any, Any]], bool]:
    """Says of a row with ``dag_id`` and ``root_batch_id`` whether it may be shown.

    Args:
        readable: The same of a DAG whose rights count.
    """
    return lambda row: readable(rights_dag_id_of(row["dag_id"], row["root_batch_id"]))


def run_id_of(title_id: str, attempt: int) -> str:
    """Id of the run of a title in its batch's DAG: the same for the same release, so that it cannot start twice."""
    return f"{title_id}__{attempt}"


def valued_columns(work: Work, valuation: Valuation) -> dict[str, Any]:
    """What a valuation writes into a title's row."""
    return {
        "work": work.model_dump(mode="json"),
        "score": valuation.score.points,
        "priority": valuation.priority.points,
        "valuation": valuation.model_dump(mode="json"),
    }


class ProofRecord(Document):
    """A published set whose proof has not come to its end."""

    request_id: str
    version: int
    queued_at: datetime
    slices: int
    """Runs of the DAG ``proofs`` so far."""
    failures: int
    """Those of them in a row that left nothing."""
    run_id: str | None
    """Of the slice under way; None between two slices."""


class Stub(Document):
    """What the DAG bundle needs to know of a batch."""

    batch_id: str
    pipeline: str
    pipeline_version: int

    @property
    def dag_id(self) -> str:
        """Id of the batch's DAG."""
        return dag_id_of(self.batch_id)


class UnderRights(Document):
    """What only those may see and change who have rights on a batch's DAG."""

    dag_id: str
    root_batch_id: str | None
    """Of a replay, a repair or a back-fill: the batch in which its title first came; None for every other."""

    @property
    def rights_dag_id(self) -> str:
        """The DAG whose rights count."""
        return rights_dag_id_of(self.dag_id, self.root_batch_id)


class BatchRecord(UnderRights):
    """A batch as it stands."""

    batch_id: str
    pipeline: str
    pipeline_version: int
    callback_url: str | None
    content_hash: str
    refusals: tuple[Refusal, ...]
    created_at: datetime
    moved_at: datetime | None
    """When an upgrade last gave it another version of its pipeline."""
    retired_at: datetime | None
    counts: dict[State, int]
    """Number of titles by state; states without a title are left out."""


class OpenTitle(Document):
    """What the order is made from: a title without what is only shown. There may be thousands at once."""

    request_id: str
    seq: int
    """Order of arrival over all batches; of two requests of a title the one with the higher number is the newer."""
    title_id: str
    pipeline: str
    request: TitleRequest
    progress: float | None
    """0–1."""
    created_at: datetime
    released_at: datetime | None
    playable_at: datetime | None
    priority: int
    """0–10,000: the highest goes first."""
    work: Work | None
    header: SourceExtent | None
    """What the mezzanine's header says, for forecasts alone. Empty where it was not to be read, or where nobody needs
    it; None until somebody has looked."""
    held: bool
    pinned: bool

    @property
    def deadline(self) -> datetime | None:
        """When the title has to be published."""
        return self.request.publish_at

    @property
    def source_known(self) -> bool:
        """Whether length and size of its mezzanine are known, from request, header or inspection."""
        return self.expected.source.known or (self.work is not None and self.work.planned)

    @property
    def expected(self) -> TitleRequest:
        """The request with what the mezzanine's header says, for forecasts."""
        return self.request.expecting(self.header)

    def as_queued(self, work: Work) -> QueuedTitle:
        """The title as the order sees it.

        Args:
            work: Its own, or what is typical where it has none yet.
        """
        return QueuedTitle(
            request_id=self.request_id,
            seq=self.seq,
            tier=self.request.tier,
            kind=self.request.kind,
            signals=self.request.signals,
            created_at=self.created_at,
            publish_at=self.deadline,
            running=self.released_at is not None,
            progress=min(1.0, max(0.0, self.progress or 0.0)),
            work=work,
            pinned=self.pinned,
            held=self.held,
            playable=self.playable_at is not None,
        )


class TitleRecord(OpenTitle, UnderRights):
    """One request of a title as it stands."""

    batch_id: str
    state: State
    attempt: int
    run_id: str | None
    """Known from the moment the title is claimed for release."""
    pipeline_version: int
    run_pipeline_version: int | None
    """Version of the pipeline that its run was begun under; None without a run."""
    run_format: int | None
    """Format of the documents that its run was begun with (:data:`include.domain.title.work.FORMAT`)."""
    origin: Origin
    origin_request_id: str | None
    """The request that this one repeats; None for a new one."""
    task: str | None
    """The task that was last heard of."""
    arrived_at: datetime | None
    """When its mezzanine was seen, of a title that may wait for it (``wait_until``)."""
    reason: str | None
    message: str | None
    version: int | None
    hls: str | None
    dash: str | None
    preview: str | None
    rungs: tuple[PackagedRendition, ...]
    started_at: datetime | None
    settled_at: datetime | None
    score: int
    """0–1000, as of the last valuation."""
    valuation: Valuation | None
    """None until the title was valued."""

    @property
    def begun_by_another_release(self) -> bool:
        """Whether its run was begun under another version of its pipeline, or with documents of another format."""
        return self.run_id is not None and (self.run_pipeline_version, self.run_format) != (
            self.pipeline_version,
            FORMAT,
        )

    @property
    def is_repair(self) -> bool:
        """Whether this request makes good what another lacks, as a repair or a back-fill.

        One that ends degraded itself needs a person, not another one.
        """
        return self.origin.makes_good

    @property
    def binding_deadline(self) -> datetime | None:
        """The deadline that an encode may give up quality for.

        None where there is nothing to save: it had passed when the request came, a library's old titles say; or the
        request makes good what an earlier one lacks.
        """
        if self.deadline is None or self.deadline <= self.created_at or self.is_repair:
            return None
        return self.deadline

    def awaits_mezzanine(self, now: datetime) -> bool:
        """Whether its mezzanine may still arrive, and was not seen yet."""
        wait_until = self.request.wait_until
        return wait_until is not None and now < wait_until and self.arrived_at is None

    def job(self) -> TitleJob:
        """The root of the job documents of this title's run."""
        request = self.request
        return TitleJob(
            request_id=self.request_id,
            batch_id=self.batch_id,
            title_id=self.title_id,
            run_key=f"{self.batch_id}.{self.attempt}",
            pipeline=self.pipeline,
            pipeline_version=self.pipeline_version,
            mezzanine=request.mezzanine,
            checksum=request.checksum,
            name=request.name,
            tier=request.tier,
            kind=request.kind,
            publish_at=request.publish_at,
            binding_deadline=self.binding_deadline,
            # A request that makes something good would take rungs away that are published already.
            playable_first=False if self.is_repair else request.playable_first,
            wait_until=request.wait_until,
            subtitles=tuple(SubtitleFile(**each.model_dump()) for each in request.subtitles),
            languages=request.languages,
            programme=request.source.programme,
            audio_layouts=request.source.audio_layouts,
            territories=request.territories,
            metadata=request.metadata,
        )


class VersionRecord(Document):
    """A published version of a title."""

    title_id: str
    version: int
    request_id: str
    seq: int
    published_at: datetime
    prefix: str
    hls: str
    dash: str | None
    preview: str
    duration_s: float
    whole: bool
    """False for an edition that goes out before the request's whole set."""
    place: int = 0
    """Which of the editions before the whole set it is, counted from 0; 0 for the whole set."""
    degraded: bool
    missing: tuple[str, ...]
    deadline_met: bool | None
    packager_version: str
    rungs: tuple[PackagedRendition, ...]
    territories: tuple[str, ...]
    """Where it is available now; ``*`` is everywhere, and empty says that a newer version took its place."""


class HistoryRow(Document):
    """What one rendition cost and how good it became: what the predictor learns from."""

    rendition: str
    recipe_hash: str
    encoder_version: str
    features: dict[str, Any]
    """What was known before the encode (:mod:`include.domain.cost.features`)."""
    cpu_s: float
    wall_s: float
    peak_memory_mb: float
    size_bytes: int
    frames: int
    duration_s: float
    vmaf: float | None = None
    """Harmonic mean."""
    vmaf_p1: float | None = None


class TaskRow(Document):
    """What one task of a title that is no encode has cost."""

    task: str
    """As the pipeline calls it."""
    features: dict[str, Any]
    """What was known before it started (:class:`include.domain.cost.features.TaskFeatures`)."""
    cpu_s: float
    wall_s: float
    peak_memory_mb: float


class Event(Document):
    """Something that happened. Events are only ever added."""

    id: int
    at: datetime
    batch_id: str
    request_id: str | None
    """None for an event of the batch."""
    kind: str
    task: str | None
    item: str | None
    detail: dict[str, Any]


class DeadLetter(UnderRights):
    """A title that came to nothing, and how to try again."""

    request_id: str
    title_id: str
    task: str | None
    error: ErrorDocument
    replay_command: str
    created_at: datetime
    run_id: str | None


class OutboxRow(Document):
    """A webhook on its way."""

    id: int
    event_id: str
    """What the receiver knows it by: the same for every attempt and replay."""
    batch_id: str
    request_id: str | None
    type: str
    url: str
    data: dict[str, Any]
    created_at: datetime
    state: OutboxState
    attempts: int
    due_at: datetime
    last_error: str | None


class Repair(Document):
    """A degraded title that lacks renditions, or quality."""

    id: int
    request_id: str
    title_id: str
    missing: tuple[str, ...]
    queued_at: datetime
    kind: RepairKind

"""The batch request: what a CMS posts, typed, and refused title by title with field, value and reason."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints, ValidationError

from include.base.document import Document, canonical_json, digest
from include.base.errors import RequestRejected
from include.base.faults import Fault, faults, shown
from include.base.text import origin_of
from include.domain.title.title import Kind, Origin, Tier

MAX_TITLES = 1000
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$"
"""Ids become parts of DAG ids, run ids, object keys and file names: letters, digits, ``_`` and ``-`` alone."""
MAX_METADATA_BYTES = 65_536
MAX_DEPTH = 32
MAX_REQUEST_BYTES = 64 * 1024**2
_UNSHOWN = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode's control characters, halves of surrogate pairs, and what some take for line ends."""


def _told(pattern: str, sentence: str) -> BeforeValidator:
    """Tells whoever sends a string of another shape the sentence: nobody should have to read the pattern."""
    shape = re.compile(pattern)

    def check(value: Any) -> Any:
        if isinstance(value, str) and not shape.fullmatch(value):
            raise ValueError(sentence)
        return value

    return BeforeValidator(check)


_TAG_PATTERN = r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$"
_TERRITORY_PATTERN = r"^[A-Z]{2}$"
_CHECKSUM_PATTERN = r"^sha256:[0-9a-f]{64}$"
Identifier = Annotated[
    str,
    StringConstraints(pattern=ID_PATTERN),
    _told(
        ID_PATTERN,
        "an id is 1 to 100 letters (A to Z without accents), digits, _ and -, and begins with a letter or a digit",
    ),
]
Language = Annotated[
    str,
    StringConstraints(pattern=_TAG_PATTERN),
    _told(_TAG_PATTERN, "must be a language tag (BCP 47) such as en, pt-BR or zh-Hant"),
]
"""BCP 47 in the shapes that manifests use."""
Territory = Annotated[
    str,
    StringConstraints(pattern=_TERRITORY_PATTERN),
    _told(_TERRITORY_PATTERN, "must be a country's two capital letters (ISO 3166-1), such as DE"),
]
"""ISO 3166-1 alpha-2."""
Checksum = Annotated[
    str,
    StringConstraints(pattern=_CHECKSUM_PATTERN),
    _told(_CHECKSUM_PATTERN, "must be sha256: and then 64 digits of lower-case hexadecimal (0 to 9, a to f)"),
]


def plain(value: str) -> str:
    """``value``, refused where it has control characters."""
    if any(unicodedata.category(char) in _UNSHOWN for char in value):
        raise ValueError("control characters are not allowed")
    return value


def _scheme(*schemes: str) -> AfterValidator:
    def check(value: str) -> str:
        if not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ValueError("must start with " + " or ".join(f"{scheme}://" for scheme in schemes))
        if "@" in re.split(r"[/?#]", value.partition("://")[2], maxsplit=1)[0]:
            raise ValueError("no credentials inside an address, they would end in logs")
        return plain(value)

    return AfterValidator(check)


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is outside of the calendar in UTC") from error


def _small(value: dict[str, Any]) -> dict[str, Any]:
    # NaN, infinity and half a surrogate pair pass Python's JSON, but no database and no CMS that gets them back.
    _storable(value, MAX_DEPTH)
    if len(json.dumps(value, allow_nan=False, ensure_ascii=False).encode()) > MAX_METADATA_BYTES:
        raise ValueError(f"metadata may not exceed {MAX_METADATA_BYTES} bytes of JSON")
    return value


def _storable(value: Any, depth: int) -> None:
    """Refuse what JSON can carry and a database, or the next reader of the document, cannot."""
    if depth == 0:
        raise ValueError(f"metadata may not be nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("metadata may not hold the character U+0000")
    for each in (*value, *value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ():
        _storable(each, depth - 1)


AudioLayout = Literal["mono", "stereo", "5.1", "7.1"]
Address = Annotated[str, Field(max_length=2048), _scheme("file", "s3", "https", "http")]
"""``http://`` passes here and is refused by the address policy unless the origin is on the allow-list."""
Moment = Annotated[AwareDatetime, AfterValidator(_utc)]
"""RFC 3339 with an offset; kept as UTC."""


class Signals(Document):
    """What the platform knows of a title's audience. A missing signal is neither zero nor an error."""

    predicted_views_7d: Annotated[float, Field(ge=0, le=1e12)] | None = None
    views_last_hour: Annotated[float, Field(ge=0, le=1e12)] | None = None
    watch_minutes_7d: Annotated[float, Field(ge=0, le=1e13)] | None = None


class SourceExtent(Document):
    """How long and how large a mezzanine is, as far as that is known before its inspection: for forecasts alone."""

    duration_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    width: Annotated[int, Field(ge=16, le=16_384)] | None = None
    height: Annotated[int, Field(ge=16, le=16_384)] | None = None
    frame_rate: Annotated[float, Field(gt=0, le=300)] | None = None

    @property
    def known(self) -> bool:
        """Whether it says length and size: without these no forecast holds."""
        return None not in (self.duration_s, self.width, self.height)


class SourceHints(SourceExtent):
    """What the platform knows of the mezzanine before anyone has looked at it.

    Length, size and rate make the first forecast better; programme and audio layouts say what is to be published.
    """

    programme: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Which programme of an MPEG transport stream to publish, by its number; else the first with a picture."""
    audio_layouts: Annotated[tuple[AudioLayout, ...], Field(max_length=64)] = ()
    """How audio channels belong together, counted over all audio tracks in their order: ``["5.1", "stereo"]`` makes two
    tracks of eight mono tracks, or of one with eight channels. Empty leaves it to what the container says."""


class SubtitleRequest(Document):
    """A subtitle file beside the mezzanine (SRT, WebVTT, ASS)."""

    uri: Address
    language: Language
    """Also decides which encodings are tried where the file is not Unicode."""
    label: Annotated[str, Field(min_length=1, max_length=80), AfterValidator(plain)] | None = None
    """What menus show; the language's name where it is not said."""
    forced: bool = False
    """Only what every viewer has to read: signs, and speech in another language than the title's."""
    hearing_impaired: bool = False
    """Tells sounds and speakers as well (SDH, closed captions)."""
    default: bool = False
    """Shown where the viewer has chosen nothing; of several the first."""


class TitleRequest(Document):
    """One title of a batch."""

    title_id: Identifier
    """The platform's id of the title; the same id in a later batch makes a new version."""
    mezzanine: Address
    """``file://`` beneath a configured root, ``s3://``, or ``https://`` to a public or allowed address."""
    checksum: Checksum | None = None
    """Gates the publication."""
    name: Annotated[str, Field(max_length=300), AfterValidator(plain)] | None = None
    tier: Tier = Tier.STANDARD
    kind: Kind | None = None
    publish_at: Moment | None = None
    """The deadline."""
    playable_first: bool | None = None
    """Whether the core rungs go out as soon as they are ready, as a first version, and all rungs as the next; where it
    is not said, the policy of the tier decides."""
    wait_until: Moment | None = None
    """The mezzanine may arrive until then."""
    signals: Signals = Signals()
    source: SourceHints = SourceHints()
    subtitles: Annotated[tuple[SubtitleRequest, ...], Field(max_length=50)] = ()
    languages: Annotated[tuple[Language, ...], Field(max_length=50)] = ()
    """Audio languages to keep; empty keeps all."""
    territories: Annotated[tuple[Territory, ...], Field(max_length=300)] = ()
    """Where the title is available; empty means everywhere."""
    metadata: Annotated[dict[str, Any], AfterValidator(_small)] = Field(default_factory=dict)
    """Stored and handed back, never interpreted."""

    def expecting(self, seen: SourceExtent | None) -> TitleRequest:
        """The request for a forecast: what it does not say of the mezzanine's extent is as it was seen."""
        said = self.source
        missing = {name: value for name, value in seen or () if value and getattr(said, name) is None}
        return self.model_copy(update={"source": said.model_copy(update=missing)}) if missing else self

    def stored(self) -> dict[str, Any]:
        """As the catalog keeps it.

        Of source and subtitles only what was said: a release before this one refuses fields that it does not know, and
        would read none of the catalog because of one title.
        """
        said = {
            "source": self.source.without_defaults(),
            "subtitles": [each.without_defaults() for each in self.subtitles],
        }
        return {**self.model_dump(mode="json"), **said}


class BatchRequest(Document):
    """The conf of the DAG ``intake``."""

    batch_id: Identifier
    pipeline: Identifier = "vod"
    """Name of a registered pipeline."""
    callback_url: Annotated[str, Field(max_length=2048), _scheme("https", "http")] | None = None
    """Where webhooks go."""
    titles: Annotated[tuple[TitleRequest, ...], Field(min_length=1, max_length=MAX_TITLES)]

    @property
    def content_hash(self) -> str:
        """The same for the same request, whatever its formatting."""
        return digest(self.model_dump(mode="json"))


class Refusal(Document):
    """Why a title was refused."""

    index: int
    """Position in the request."""
    title_id: str | None
    field: str
    value: str
    reason: str

    def __str__(self) -> str:
        title = self.title_id or f"titles[{self.index}]"
        return f"{title}: {self.field}: {self.reason} (got {self.value})"


class ParsedBatch(Document):
    """A batch request after validation: what is accepted, what is refused and why."""

    batch_id: str
    pipeline: str
    callback_url: str | None
    content_hash: str
    """Over the request as posted, refused titles included."""
    titles: tuple[TitleRequest, ...]
    refusals: tuple[Refusal, ...]
    origin: Origin = Origin.NEW
    origin_request_id: str | None = None
    """The request that this batch repeats; None for a new one."""

    def without(self, faults: Mapping[str, Refusal]) -> ParsedBatch:
        """The batch without the titles at fault, by title id; a refusal's position is put in here.

        Raises :class:`RequestRejected` where no title is left.
        """
        refused = {each.index for each in self.refusals}
        free = (index for index in range(len(self.titles) + len(refused)) if index not in refused)
        found = [
            faults[title.title_id].model_copy(update={"index": index})
            for index, title in zip(free, self.titles, strict=True)
            if title.title_id in faults
        ]
        refusals = tuple(sorted((*self.refusals, *found), key=lambda refusal: refusal.index))
        titles = tuple(title for title in self.titles if title.title_id not in faults)
        if not titles:
            raise _none_left(refusals)
        return self.model_copy(update={"titles": titles, "refusals": refusals})


class _Envelope(Document):
    """The batch around its titles, which are validated one by one."""

    batch_id: Identifier
    pipeline: str = "vod"
    """Looked up, so that an unknown one of whatever shape is answered with those that there are."""
    callback_url: Annotated[str, Field(max_length=2048), _scheme("https", "http")] | None = None
    titles: Annotated[list[Any], Field(min_length=1, max_length=MAX_TITLES)]


def parse_batch(conf: Any, *, pipelines: frozenset[str]) -> ParsedBatch:
    """Validate a batch request.

    A bad title is refused alone; a bad envelope, an unknown pipeline or a batch without one good title raises
    :class:`RequestRejected`, whose message names field, value and reason for each fault.

    Args:
        conf: The decoded JSON.
        pipelines: Names of the registered pipelines.
    """
    if not isinstance(conf, dict):
        raise RequestRejected(f"the batch request must be a JSON object (got {shown(conf)})", reason="invalid_request")
    content_hash = _hashed(conf)
    envelope = _envelope(conf, pipelines)
    titles: dict[str, TitleRequest] = {}
    refusals: list[Refusal] = []
    for index, raw in enumerate(envelope.titles):
        title_id = raw.get("title_id") if isinstance(raw, dict) else None
        shown_id = title_id if isinstance(title_id, str) and re.fullmatch(ID_PATTERN, title_id) else None
        try:
            title = TitleRequest.model_validate(raw)
        except ValidationError as error:
            refusals += [
                Refusal(
                    index=index,
                    title_id=shown_id,
                    field=fault.field or "request",
                    value=fault.value,
                    reason=fault.reason,
                )
                for fault in faults(error)
            ]
            continue
        if title.title_id in titles:
            refusals.append(
                Refusal(
                    index=index,
                    title_id=title.title_id,
                    field="title_id",
                    value=shown(title.title_id),
                    reason="appears more than once in this batch; the first one counts",
                )
            )
            continue
        titles[title.title_id] = title

    if not titles:
        raise _none_left(refusals)
    return ParsedBatch(
        batch_id=envelope.batch_id,
        pipeline=envelope.pipeline,
        callback_url=envelope.callback_url,
        content_hash=content_hash,
        titles=tuple(titles.values()),
        refusals=tuple(refusals),
    )


def _none_left(refusals: Iterable[Refusal]) -> RequestRejected:
    return RequestRejected("; ".join(str(refusal) for refusal in refusals), reason="no_valid_title")


def _got(fault: Fault, conf: dict[Any, Any]) -> str:
    """The value of a batch's faulty field, for people; of a callback's address the origin, as its path is secret."""
    callback = conf.get("callback_url")
    return shown(origin_of(callback)) if fault.field == "callback_url" and isinstance(callback, str) else fault.value


def _envelope(conf: dict[Any, Any], pipelines: frozenset[str]) -> _Envelope:
    """What a batch says beside its titles."""
    try:
        envelope = _Envelope.model_validate(conf)
    except ValidationError as error:
        told = "; ".join(
            f"{fault.field or 'request'}: {fault.reason} (got {_got(fault, conf)})" for fault in faults(error)
        )
        raise RequestRejected(told, reason="invalid_request") from error
    if envelope.pipeline not in pipelines:
        known = ", ".join(sorted(pipelines))
        raise RequestRejected(
            f"pipeline: no pipeline of this name is registered (got {shown(envelope.pipeline)}; known: {known})",
            reason="unknown_pipeline",
        )
    return envelope


def _hashed(conf: dict[Any, Any]) -> str:
    """The digest of the whole request, which must be JSON that can be written again."""
    try:
        size, found = len(canonical_json(conf)), digest(conf)
    except (RecursionError, TypeError, ValueError) as error:
        raise RequestRejected(
            f"the batch request is no JSON that can be kept: {type(error).__name__}", reason="invalid_request"
        ) from error
    if size > MAX_REQUEST_BYTES:
        raise RequestRejected(
            f"the batch request has {size} characters, at most {MAX_REQUEST_BYTES} are served; post several batches",
            reason="invalid_request",
        )
    return found


def batch_schema() -> dict[str, Any]:
    """JSON Schema of a batch request, for ``callsheet schema``."""
    schema = BatchRequest.model_json_schema(mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Callsheet batch request"
    return schema

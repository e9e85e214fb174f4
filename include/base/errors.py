"""Every failure Callsheet names, who owns it, and whether trying again can help.

The whole tree::

    CallsheetError
    ├── ConfigurationError      platform  never      a setting, a recipe or a deployment is wrong
    ├── RequestRejected         source    never      a batch request that cannot be accepted at all
    ├── BatchConflict           source    never      the batch id is known with other content
    ├── SteeringRefused         source    never      a change to a title that comes too late for it
    ├── NotReleased             platform  never      a run that the catalog did not release (started by hand)
    ├── MezzanineRejected       source    never      missing, empty, truncated, not a video, wrong checksum …
    ├── MezzanineUnreachable    source    transient  the address did not answer; it may later
    ├── StaleRequest            platform  never      a newer request of this title is already published
    ├── CoreRungMissing         encoder   never      a rendition or sound without which the title must not go out
    ├── TitleEndedBadly         platform  never      a title that was not published: it is settled, its run is red
    ├── MissingInput            platform  never      a stage whose input no earlier stage has written
    ├── StorageError            storage   transient  the object store or the disk refused
    ├── PlatformUnavailable     platform  transient  Airflow's API, the catalog or a webhook did not answer
    │   ├── OtherRelease        platform  later      a job document of another release: its form is unknown here
    │   ├── PodEvicted          platform  transient  its node needed the room, or was drained
    │   ├── NodeLost            platform  transient  the node is gone, or somebody deleted the pod
    │   ├── PodTimeout          platform  transient  the pod ran past its deadline: its worker hung
    │   ├── ImageUnavailable    platform  transient  the worker's image could not be pulled
    │   └── PodUnschedulable    platform  transient  no node took the pod in time
    │       └── GpuUnavailable  platform  transient  no node had a GPU for it: the next attempt runs on CPUs
    └── ToolFailed              (command and stderr are part of the error)
        ├── EncoderCrashed      encoder   transient
        ├── PackagerFailed      packager  transient
        ├── ToolTimeout         encoder   transient  a media tool ran past its limit of time or of CPU time
        ├── OutputTooLarge      encoder   never      a media tool wrote more than any sound output has
        └── OutOfMemory         encoder   more memory
            └── MemoryExhausted encoder   never      it had as much memory as a worker may ask for

An error crosses from a worker to Airflow as an :class:`ErrorDocument`; the worker's exit code says the retry class
even where the document is lost. A message is one line without secrets, whatever it quotes (:mod:`include.base.text`).
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from include.base.document import Document
from include.base.text import one_line


class Owner(StrEnum):
    """Who has to act on a failure."""

    SOURCE = "source"
    ENCODER = "encoder"
    PACKAGER = "packager"
    STORAGE = "storage"
    PLATFORM = "platform"


class Retry(StrEnum):
    """Whether another attempt can end differently."""

    NEVER = "never"
    TRANSIENT = "transient"
    MORE_MEMORY = "more_memory"
    LATER = "later"
    """Nothing was tried: the same again, once what hinders it has passed. It does not count as an attempt."""


EXIT_CODES: dict[Retry, int] = {Retry.NEVER: 64, Retry.TRANSIENT: 75, Retry.LATER: 76, Retry.MORE_MEMORY: 137}
"""A worker's exit code by retry class. 64, 75 and 76 follow sysexits.h (EX_USAGE, EX_TEMPFAIL, EX_PROTOCOL); 137 is
what a container reports when the kernel killed it for memory."""


class ErrorDocument(Document):
    """A failure as the worker writes it to the store and the catalog keeps it."""

    type: str
    """Class name in this module, or of a foreign exception."""
    message: str
    owner: Owner
    retry: Retry
    reason: str | None = None
    """A short machine-readable word for the CMS, e.g. ``checksum_mismatch``."""
    command: str | None = None
    """The failed command as a person can paste it."""
    stderr_tail: str | None = None


class CallsheetError(Exception):
    """Base of all errors that Callsheet raises on purpose."""

    owner: ClassVar[Owner] = Owner.PLATFORM
    retry: ClassVar[Retry] = Retry.TRANSIENT

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        self.message = one_line(message)
        super().__init__(self.message)
        self.reason = reason

    @property
    def exit_code(self) -> int:
        """The worker's exit code for this error."""
        return EXIT_CODES[self.retry]

    def document(self) -> ErrorDocument:
        """This error as data."""
        return ErrorDocument(
            type=type(self).__name__,
            message=self.message,
            owner=self.owner,
            retry=self.retry,
            reason=self.reason,
        )


class ConfigurationError(CallsheetError):
    """A setting, a recipe file or a deployment is wrong; the message names the file or variable and the way out."""

    retry = Retry.NEVER


class RequestRejected(CallsheetError):
    """A batch request that cannot be accepted at all."""

    owner = Owner.SOURCE
    retry = Retry.NEVER


class BatchConflict(RequestRejected):
    """The batch id is already known, with other content."""


class SteeringRefused(RequestRejected):
    """A change to a title that comes too late for it."""


class NotReleased(CallsheetError):
    """A run of a batch DAG that the catalog did not release."""

    retry = Retry.NEVER


class MezzanineRejected(CallsheetError):
    """The mezzanine itself is at fault: another attempt on the same file ends the same way."""

    owner = Owner.SOURCE
    retry = Retry.NEVER


class MezzanineUnreachable(CallsheetError):
    """The mezzanine's address did not answer, or not completely."""

    owner = Owner.SOURCE
    retry = Retry.TRANSIENT


class StaleRequest(CallsheetError):
    """A newer request of this title has been published: this one must not overwrite it."""

    retry = Retry.NEVER


class CoreRungMissing(CallsheetError):
    """A rendition that the tier declares indispensable is missing or failed its checks."""

    owner = Owner.ENCODER
    retry = Retry.NEVER


class TitleEndedBadly(CallsheetError):
    """The end of a title that was not published. It is settled: this makes its run red in Airflow."""

    retry = Retry.NEVER


class MissingInput(CallsheetError):
    """A stage whose input no earlier stage has written."""

    retry = Retry.NEVER


class StorageError(CallsheetError):
    """The object store or the disk refused."""

    owner = Owner.STORAGE


class PlatformUnavailable(CallsheetError):
    """Airflow's API, the catalog or another service of the platform did not answer."""


class OtherRelease(PlatformUnavailable):
    """A document of another release, in a form that this one does not know: it is read when all parts are of one."""

    retry = Retry.LATER


class PodEvicted(PlatformUnavailable):
    """A worker's pod was evicted: its node ran short of memory or disk, was drained, or a higher priority took it."""


class NodeLost(PlatformUnavailable):
    """A worker's pod is gone without a word, or its node is."""


class PodTimeout(PlatformUnavailable):
    """A worker's pod ran past its deadline, which is well after the limit that the worker keeps by itself."""


class ImageUnavailable(PlatformUnavailable):
    """The image of the workers could not be pulled."""


class PodUnschedulable(PlatformUnavailable):
    """No node took a worker's pod in time; the message has the scheduler's reason."""


class GpuUnavailable(PodUnschedulable):
    """No node had a GPU for a worker's pod."""


class ToolFailed(CallsheetError):
    """A media tool failed; carries its command and the end of its stderr."""

    owner = Owner.ENCODER

    def __init__(self, message: str, *, command: str, stderr_tail: str, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.command = command
        self.stderr_tail = stderr_tail

    def document(self) -> ErrorDocument:
        """This error as data, with command and stderr."""
        return super().document().model_copy(update={"command": self.command, "stderr_tail": self.stderr_tail})


class EncoderCrashed(ToolFailed):
    """An encoder ended badly, or ended well and left a bad output."""


class PackagerFailed(ToolFailed):
    """The packager ended badly, or ended well and left a bad set."""

    owner = Owner.PACKAGER


class ToolTimeout(ToolFailed):
    """A media tool ran past its limit of time, or of CPU time."""


class OutputTooLarge(ToolFailed):
    """A media tool wrote more than any sound output has: it would again."""

    retry = Retry.NEVER


class OutOfMemory(ToolFailed):
    """A media tool was killed for memory: the next attempt must ask for more."""

    retry = Retry.MORE_MEMORY


class MemoryExhausted(OutOfMemory):
    """Out of memory with as much of it as a worker may ask for: another attempt ends the same way."""

    retry = Retry.NEVER


def to_document(error: BaseException) -> ErrorDocument:
    """Any exception as data; a foreign one is the platform's and worth another try."""
    if isinstance(error, CallsheetError):
        return error.document()
    return ErrorDocument(
        type=type(error).__name__,
        message=one_line(str(error)) or type(error).__name__,
        owner=Owner.PLATFORM,
        retry=Retry.TRANSIENT,
    )


def from_document(document: ErrorDocument) -> CallsheetError:
    """The typed error of a document; an unknown type becomes a plain error with the same retry class."""
    known: dict[str, type[CallsheetError]] = {cls.__name__: cls for cls in _tree(CallsheetError)}
    cls = known.get(document.type)
    if cls is not None and issubclass(cls, ToolFailed):
        return cls(
            document.message,
            command=document.command or "",
            stderr_tail=document.stderr_tail or "",
            reason=document.reason,
        )
    if cls is not None:
        return cls(document.message, reason=document.reason)
    foreign: type[CallsheetError] = type(
        document.type, (CallsheetError,), {"owner": document.owner, "retry": document.retry}
    )
    return foreign(document.message, reason=document.reason)


def _tree(cls: type[CallsheetError]) -> list[type[CallsheetError]]:
    return [cls, *(sub for child in cls.__subclasses__() for sub in _tree(child))]

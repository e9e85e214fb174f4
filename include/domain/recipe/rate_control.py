"""How an encoder is told to spend bits: a union of named kinds, told apart by their field ``kind``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field

from include.base.document import Document

RateControlKind = Literal["capped_crf", "nvenc_cq"]
"""Names of the kinds."""


class CappedCrf(Document):
    """Constant quality with an upper limit on the bit rate, as x264 and libvpx have it."""

    kind: Literal["capped_crf"] = "capped_crf"
    crf: float
    """Lower is better. Each encoder has a scale of its own."""
    maxrate_kbps: int
    """Limit of the bit rate, averaged over the buffer."""
    bufsize_kbps: int
    """Kilobits that the decoder's buffer holds."""

    @property
    def quality(self) -> float:
        """The CRF."""
        return self.crf

    def shifted(self, by: float) -> Self:
        """The same limits at a quality that is ``by`` higher on the encoder's scale: worse where it is positive."""
        return self.model_copy(update={"crf": self.crf + by})


class NvencCq(Document):
    """NVENC's constant quality with an upper limit on the bit rate."""

    kind: Literal["nvenc_cq"] = "nvenc_cq"
    cq: float
    """Lower is better. Near x264's CRF, but not the same scale."""
    maxrate_kbps: int
    """Limit of the bit rate, averaged over the buffer."""
    bufsize_kbps: int
    """Kilobits that the decoder's buffer holds."""

    @classmethod
    def like(cls, control: CappedCrf) -> Self:
        """What stands for a capped CRF on a GPU: its number as CQ, and its limits."""
        return cls(cq=control.crf, maxrate_kbps=control.maxrate_kbps, bufsize_kbps=control.bufsize_kbps)

    @property
    def quality(self) -> float:
        """The CQ."""
        return self.cq

    def shifted(self, by: float) -> Self:
        """The same limits at a quality that is ``by`` higher on the encoder's scale: worse where it is positive."""
        return self.model_copy(update={"cq": self.cq + by})


RateControl = Annotated[CappedCrf | NvencCq, Field(discriminator="kind")]
"""Any of the kinds."""

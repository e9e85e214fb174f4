"""Whether NVIDIA's hardware encoder works here, and why not.

That ffmpeg lists the encoder proves nothing, and neither does a card: A100, H100 and H200 have no encoder. So a few
frames are encoded, with the size and the options that are wanted.
"""

from __future__ import annotations

import re
from functools import cache

from include.adapters.ffmpeg.commands import trial_argv
from include.adapters.process import run
from include.base.errors import OutOfMemory, ToolFailed, ToolTimeout
from include.domain.outcome.results import Fallback, HardwareFault
from include.domain.recipe.rungs import Rendition

TRIAL_LIMIT_S = 60.0
_OWN_LINE = re.compile(r"^\[\w+_nvenc @ [^\]]*\]\s*(?:\[\w+\]\s*)?(.*)$", re.MULTILINE)
"""What the encoder itself says, without its address in memory."""
_SAID: tuple[tuple[str, HardwareFault, str], ...] = (
    (
        # The driver's word for "too many sessions"; ffmpeg makes "Cannot allocate memory" of it.
        r"out of memory|incompatible client key|CUDA_ERROR_OUT_OF_MEMORY",
        HardwareFault.BUSY,
        "all encoding sessions of the card, or its memory, are taken",
    ),
    (
        r"required nvenc API version|minimum required Nvidia driver",
        HardwareFault.OLD_DRIVER,
        "the driver is older than this ffmpeg needs",
    ),
    (
        r"Cannot load|CUDA_ERROR_NO_DEVICE|no CUDA-capable device|cuInit",
        HardwareFault.NO_DRIVER,
        "no NVIDIA driver with video encoding is reachable from here",
    ),
    (
        r"minimum supported value|not supported|exceed|InitializeEncoder failed",
        HardwareFault.UNSUPPORTED,
        "the card's encoder does not take this size or these options",
    ),
    (r"unsupported device|No capable devices found", HardwareFault.NO_ENCODER, "the card has no video encoder"),
)


@cache
def trial(program: str, rendition: Rendition) -> Fallback | None:
    """None where ``rendition.encoder`` has just encoded a few frames, else what to record. Asked once per process.

    Args:
        program: ffmpeg.
        rendition: The hardware form.
    """
    try:
        run(trial_argv(program, rendition), timeout_s=TRIAL_LIMIT_S)
    except ToolFailed as error:
        return fallback(rendition, error)
    return None


def fallback(rendition: Rendition, error: ToolFailed) -> Fallback:
    """Why the hardware encoder failed; raises ``error`` where the fault lies elsewhere: with this machine's memory."""
    said = _OWN_LINE.findall(error.stderr_tail)
    if isinstance(error, ToolTimeout):
        return Fallback(encoder=rendition.encoder, fault=HardwareFault.HUNG, message=f"it hung ({error.message})")
    for pattern, fault, meaning in _SAID:
        line = next((each for each in said if re.search(pattern, each)), None)
        if line is not None:
            return Fallback(encoder=rendition.encoder, fault=fault, message=f"{meaning} ({line.strip()})")
    if isinstance(error, OutOfMemory):
        raise error
    last = f" ({said[-1].strip()})" if said else ""
    return Fallback(encoder=rendition.encoder, fault=HardwareFault.CRASHED, message=f"it ended badly{last}")

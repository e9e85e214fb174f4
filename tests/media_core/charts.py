"""Test charts in any colours, what they ought to look like as BT.709, and what a rendition shows of them.

Everything is computed from the published formulas (ITU-R BT.601, 709, 1886, 2020, 2100; SMPTE ST 2084, RP 431-2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np  # noqa: TID253

from include.domain.media.media import Analysis, Inspection
from include.domain.outcome.results import EncodeResult
from include.domain.plan.plan import Plan
from include.stages.analyse import analyse
from include.stages.core import StageContext
from include.stages.encode import encode
from include.stages.plan import plan
from tests.clips import run_ffmpeg
from tests.media_core.conftest import inspected
from tests.titles import lowest

Array = Any
"""A numpy array."""
COLUMNS, ROWS = 4, 2
WIDTH, HEIGHT = 320, 180

WHITE_D65 = (0.3127, 0.3290)
CHROMATICITIES = {
    "bt709": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    "smpte170m": ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    "bt470bg": ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
    "smpte432": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
}
"""Red, green and blue; white is D65 for all."""
LUMA = {
    "bt709": (0.2126, 0.0722),
    "smpte170m": (0.299, 0.114),
    "bt470bg": (0.299, 0.114),
    "bt2020nc": (0.2627, 0.0593),
}
"""Weights of red and blue."""

COLOURS = np.array(
    [
        *((0.9, 0.9, 0.9), (0.5, 0.5, 0.5), (0.8, 0.3, 0.25), (0.3, 0.75, 0.3)),
        *((0.25, 0.3, 0.8), (0.3, 0.75, 0.75), (0.7, 0.3, 0.7), (0.85, 0.8, 0.35)),
    ]
)
"""Nonlinear red, green and blue of eight patches, 0 to 1."""


def to_xyz(primaries: str) -> Array:
    """The matrix from linear RGB of these primaries to XYZ (SMPTE RP 177)."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (*CHROMATICITIES[primaries], WHITE_D65)]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


def in_bt709(linear: Array, primaries: str) -> Array:
    """Linear light of these primaries as BT.709's, which may leave 0 to 1."""
    return linear @ (np.linalg.inv(to_xyz("bt709")) @ to_xyz(primaries)).T


def displayed(signal: Array) -> Array:
    """Light of a signal on an SDR display (BT.1886), 1 at white."""
    return np.maximum(signal, 0) ** 2.4


def signal_of(light: Array) -> Array:
    """The SDR signal (BT.1886) that shows this light."""
    return np.clip(light, 0, 1) ** (1 / 2.4)


def pq(nits: Array) -> Array:
    """PQ signal of a light in cd/m² (ST 2084)."""
    power = (np.asarray(nits) / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)


def ycbcr(rgb: Array, matrix: str) -> Array:
    """Luma (0 to 1) and colour differences (-0.5 to 0.5) of nonlinear RGB."""
    red, green, blue = np.moveaxis(np.asarray(rgb), -1, 0)
    if matrix == "ycgco":
        return np.stack([(red + 2 * green + blue) / 4, (2 * green - red - blue) / 4, (red - blue) / 2], -1)
    of_red, of_blue = LUMA[matrix]
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    return np.stack([luma, (blue - luma) / (2 - 2 * of_blue), (red - luma) / (2 - 2 * of_red)], -1)


def make_chart(
    path: Path,
    rgb: Array,
    *,
    primaries: str,
    transfer: str,
    matrix: str,
    full_range: bool = False,
    pixels: str = "yuv420p10le",
    video: tuple[str, ...] = ("-c:v", "libx264", "-qp", "4"),
    size: tuple[int, int] = (WIDTH, HEIGHT),
    extra: tuple[str, ...] = (),
) -> Path:
    """A still clip of eight patches, 4 × 2, with these tags.

    Args:
        path: Where to write it.
        rgb: Nonlinear red, green and blue of each patch.
        primaries: Tag.
        transfer: Tag.
        matrix: Tag, and what luma and colour differences are computed with.
        full_range: Tag and levels.
        pixels: Pixel format of the clip.
        video: The encoder.
        size: Width and height.
        extra: Further output options.
    """
    values = ycbcr(rgb, matrix)
    scale, offset = ((1023, 1023), (0, 512)) if full_range else ((876, 896), (64, 512))
    levels = np.stack([values[:, 0] * scale[0] + offset[0], *(values[:, n] * scale[1] + offset[1] for n in (1, 2))])
    width, height = size
    grid = levels.round().clip(0, 1023).astype("<u2").reshape(3, ROWS, COLUMNS)
    planes = grid.repeat(height // ROWS, axis=1).repeat(width // COLUMNS, axis=2)
    raw = path.with_suffix(".raw")
    planes.tofile(raw)
    levels_are = "full" if full_range else "limited"
    # The scaler knows only some of the matrices: the tags come behind it.
    known = f"setparams=range={levels_are}:colorspace={matrix if matrix in LUMA else 'unknown'}"
    tags = f"setparams=color_primaries={primaries}:color_trc={transfer}"
    tags += ":colorspace=gbr" if pixels.startswith("gbr") else f":colorspace={matrix}"
    run_ffmpeg(
        [
            *("-f", "rawvideo", "-pix_fmt", "yuv444p10le", "-video_size", f"{width}x{height}", "-framerate", "25"),
            *("-i", str(raw)),
            *("-vf", f"{known},format={pixels},{tags},loop=loop=11:size=1"),
            *video,
            *extra,
            str(path),
        ]
    )
    return path


def rendered(ctx: StageContext) -> tuple[Inspection, EncodeResult, Plan]:
    """The lowest rung of a title, encoded."""
    source = inspected(ctx)
    found = analyse.function(ctx, ctx.title, source)
    assert isinstance(found, Analysis)
    assert found.si_mean is not None, "no window could be measured"
    decision = plan.function(ctx, ctx.title, source, found, codecs=("h264",))
    assert isinstance(decision, Plan)
    decision = lowest(decision)
    result = encode.function(ctx, ctx.title, source, decision, decision.jobs[0])
    assert isinstance(result, EncodeResult)
    return source, result, decision


def shown(path: Path | str, *, frame: int = 3) -> Array:
    """One frame of a file as RGB, 0 to 255: height × width × 3, by the tags that it must have."""
    with av.open(str(path)) as container:
        for number, picture in enumerate(container.decode(video=0)):
            last = picture
            if number == frame:
                break
    tags = (last.color_primaries, last.color_trc, last.colorspace, last.color_range)
    # H.273: BT.709 is 1 in all three; PyAV's 1 is limited range.
    assert [int(tag) for tag in tags] == [1, 1, 1, 1]
    luma, blue, red = _planes(last)
    return _rgb((luma - 16) / 219, (blue - 128) / 224, (red - 128) / 224, "bt709")


def full_rgb(picture: Any, matrix: str) -> Array:
    """A decoded 8-bit 4:2:0 picture of the full range as RGB, 0 to 255."""
    luma, blue, red = _planes(picture)
    return _rgb(luma / 255, (blue - 128) / 255, (red - 128) / 255, matrix)


def _planes(picture: Any) -> list[Array]:
    planes = [
        np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)[:, : plane.width].astype(float)
        for plane in picture.planes[:3]
    ]
    height, width = planes[0].shape
    return [planes[0], *(plane.repeat(2, 0).repeat(2, 1)[:height, :width] for plane in planes[1:])]


def _rgb(luma: Array, blue: Array, red: Array, matrix: str) -> Array:
    of_red, of_blue = LUMA[matrix]
    reds, blues = luma + (2 - 2 * of_red) * red, luma + (2 - 2 * of_blue) * blue
    greens = (luma - of_red * reds - of_blue * blues) / (1 - of_red - of_blue)
    return np.stack([reds, greens, blues], -1).clip(0, 1) * 255


def patches(picture: Array) -> Array:
    """The mean colour around the middle of each of the eight patches, 0 to 255."""
    height, width = picture.shape[0] // ROWS, picture.shape[1] // COLUMNS
    return np.array(
        [
            picture[
                row * height + height // 4 : (row + 1) * height - height // 4,
                column * width + width // 4 : (column + 1) * width - width // 4,
            ].mean((0, 1))
            for row in range(ROWS)
            for column in range(COLUMNS)
        ]
    )

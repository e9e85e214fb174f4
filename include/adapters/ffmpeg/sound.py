"""The arguments that take a sound track out of a mezzanine: a stream as it is, or channels of one or several."""

from __future__ import annotations

from collections.abc import Sequence

from include.adapters.ffmpeg.steady import Branch, behind, steady_track
from include.domain.media.media import AudioStream
from include.domain.recipe.codecs import AUDIO_RATE_HZ

_PLACES = {
    "mono": ("FC",),
    "stereo": ("FL", "FR"),
    "5.1": ("FL", "FR", "FC", "LFE", "BL", "BR"),
    "7.1": ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""ffmpeg's names of the channels of a layout, in the order in which mezzanines have them (SMPTE ST 2036-2)."""
GAP_S = 0.03
"""The shortest gap or overlap of a track's times that is mended where it is. Joined recordings have one at each joint;
left alone they add up, to more than the 45 ms by which sound may be off."""


def by_its_times(*, first_pts: int) -> str:
    """The filter that brings decoded sound to its times, at the rate of what is made.

    Args:
        first_pts: Sample at which it begins: silence is put in front of what starts later, and earlier sound is cut.
    """
    return f"aresample={AUDIO_RATE_HZ}:async=1:min_hard_comp={GAP_S}:first_pts={first_pts}"


_WHOLE = f"{by_its_times(first_pts=0)},apad"
"""Streams that are joined start together and never end before the others."""


def taken(track: AudioStream, name: str, branches: Sequence[Branch]) -> list[str]:
    """Arguments that decode a track once and send it through every branch, to the outputs of their names.

    Args:
        track: What to decode.
        name: Of the track in the command: letters, digits and underscores.
        branches: One or several.
    """
    if not track.taps:
        return steady_track(f"0:{track.index}", name, branches)
    places = _PLACES[track.channel_layout or ""]
    streams = {stream: number for number, stream in enumerate(track.streams)}
    inputs = "".join(f"[0:{stream}]{_WHOLE}[in{number}];" for stream, number in streams.items())
    labels = "".join(f"[in{number}]" for number in streams.values())
    channels = "|".join(
        f"{streams[tap.stream]}.{tap.channel}-{place}" for tap, place in zip(track.taps, places, strict=True)
    )
    join = f"{labels}join=inputs={len(streams)}:channel_layout={track.channel_layout}:map={channels}"
    split = "".join(f"[split_{branch.name}]" for branch in branches)
    ways = ";".join(
        f"[split_{branch.name}]aformat=channel_layouts={branch.channel_layout}[steady_{branch.name}]"
        for branch in branches
    )
    return ["-filter_complex", f"{inputs}{join},asplit={len(branches)}{split};{ways}", *behind(branches)]

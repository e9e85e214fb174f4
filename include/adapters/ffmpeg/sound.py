"""The arguments that take a sound track out of a mezzanine: a stream as it is, or channels of one or several."""

from __future__ import annotations

from collections.abc import Sequence

from include.adapters.ffmpeg.steady import steady_track
from include.domain.media.media import AudioStream
from include.domain.recipe.codecs import AUDIO_RATE_HZ

_PLACES = {
    "mono": ("FC",),
    "stereo": ("FL", "FR"),
    "5.1": ("FL", "FR", "FC", "LFE", "BL", "BR"),
    "7.1": ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""ffmpeg's names of the channels of a layout, in the order in which mezzanines have them (SMPTE ST 2036-2)."""
_WHOLE = f"aresample={AUDIO_RATE_HZ}:async=1:first_pts=0,apad"
"""Streams that are joined start together and never end before the others."""


def mapped(track: AudioStream, filters: Sequence[str], *, channel_layout: str | None = None) -> list[str]:
    """Arguments that select a track and send it through ``filters``.

    Args:
        track: What to select.
        filters: In order.
        channel_layout: Where it may change on the way: the layout that it is brought to first. The filters have to end
            it then (:func:`include.adapters.ffmpeg.steady.steady_track`).
    """
    chain = ",".join(filters)
    if not track.taps and channel_layout:
        return steady_track(f"0:{track.index}", filters, channel_layout=channel_layout)
    if not track.taps:
        return ["-map", f"0:{track.index}", *(("-af", chain) if chain else ())]
    places = _PLACES[track.channel_layout or ""]
    streams = {stream: number for number, stream in enumerate(track.streams)}
    inputs = "".join(f"[0:{stream}]{_WHOLE}[in{number}];" for stream, number in streams.items())
    labels = "".join(f"[in{number}]" for number in streams.values())
    channels = "|".join(
        f"{streams[tap.stream]}.{tap.channel}-{place}" for tap, place in zip(track.taps, places, strict=True)
    )
    join = f"{labels}join=inputs={len(streams)}:channel_layout={track.channel_layout}:map={channels}"
    return ["-filter_complex", f"{inputs}{join}{',' if chain else ''}{chain}[sound]", "-map", "[sound]"]

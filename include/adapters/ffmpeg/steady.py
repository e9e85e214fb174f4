"""Brings what changes within a stream on the way to one form, before anything that counts time sees it.

Left to itself ffmpeg begins with new filters where a stream's size, format, colour, layout or rate changes, and what
counts from the title's zero counts from there again: extra seconds, extra frames, measurements of the last piece alone.

* **Pictures**: the filters stay (``-reinit_filter 0``), and the first of them is ``scale``, which takes each picture as
  it comes and gives all of them one size, format and matrix. Where nothing changes it passes them on untouched. No
  other filter may stand before it: most would read beyond a picture that is smaller than they were told. So ffmpeg is
  kept from putting its own in front, and a stream that needs those (turned, mirrored, cropped by its container) is not
  followed: there the filters begin anew.
* **Sound**: ``abuffer`` refuses another format. A graph of its own, which may begin anew at any time without harm,
  gives samples of one form with their times to a second one, which never sees a change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from include.domain.media.changes import NEARLY_ALIKE
from include.domain.media.colour import SCALER_MATRICES, ZIMG_MATRICES, read_as
from include.domain.media.media import VideoStream
from include.domain.media.picture import CONTAINER_KNOWS
from include.domain.recipe.codecs import AUDIO_RATE_HZ

_TAKEN_FOR = frozenset({"smpte170m", "bt470bg"})
"""What the scaler takes an untagged picture for."""
SCALER = "bicubic+accurate_rnd+full_chroma_int"
"""How pictures are scaled, in every step and on both sides of a comparison."""

Node = Any
"""A stream of an ffmpeg-python graph; that package ships no types."""


def steady_options(*, followed: bool) -> dict[str, Any]:
    """Options of an input whose pictures pass :func:`steady_picture`; none for a stream that is not followed."""
    if not followed:
        return {}
    # No turning and cropping by ffmpeg itself: the filters for it would come first.
    return {"reinit_filter:v": 0, "noautorotate": None, "apply_cropping": "codec"}


def steadies(video: VideoStream) -> bool:
    """Whether :func:`steady_picture` can take these pictures: all of their lines, in a matrix that the scaler reads."""
    return not video.blank_lines and read_as(video).matrix not in ZIMG_MATRICES


def steady_picture(node: Node, video: VideoStream, *, interlaced: bool) -> Node:
    """Decoded pictures, all at the stream's size, and in its colour matrix and range.

    Args:
        node: As the decoder gives them, opened with :func:`steady_options`.
        video: What they are to be.
        interlaced: Whether fields have to be kept apart.
    """
    if not video.followed:
        return node
    width, height, colours = video.width, video.height, read_as(video)
    options: dict[str, Any] = {"flags": SCALER, **({"interl": 1} if interlaced else {})}
    if colours.matrix in SCALER_MATRICES:
        options["out_range"] = "full" if colours.full_range else "limited"
        # Some decoders tag pictures otherwise than their container, which is right; or not at all.
        mistagged = video.decoder is not None or video.codec in CONTAINER_KNOWS
        if video.color_space == colours.matrix and not mistagged:
            options["out_color_matrix"] = colours.matrix
        elif mistagged or colours.matrix not in _TAKEN_FOR:
            node = node.filter("setparams", colorspace=colours.matrix)
    if not video.reshaped:
        return node.filter("scale", width, height, **options)
    shape = f"(iw*{height}/ih/{width})"
    fitted = {
        "w": f"if(lt(abs({shape}-1),{NEARLY_ALIKE}),{width},min({width},2*round({width}*{shape}/2)))",
        "h": f"if(lt(abs({shape}-1),{NEARLY_ALIKE}),{height},min({height},2*round({height}/{shape}/2)))",
    }
    return node.filter("scale", **fitted, eval="frame", **options).filter("pad", width, height, -1, -1, eval="frame")


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One way of a track behind its decoder: in one channel layout, through filters, to one output."""

    name: str
    """Of the output, and of nothing else in the command: letters, digits and underscores."""
    channel_layout: str
    """ffmpeg's name of the layout that the filters see."""
    filters: tuple[str, ...]
    """At least one. They have to end the sound: what they get goes on in endless silence."""


def steady_track(selector: str, name: str, branches: Sequence[Branch]) -> list[str]:
    """Arguments that send a track through every branch, whose filters see one form of it whatever changes.

    Args:
        selector: The track, e.g. ``0:1``.
        name: Of the track in the command (:func:`include.adapters.ffmpeg.changes.sound_states`).
        branches: One or several.
    """
    split = "".join(f"[split_{branch.name}]" for branch in branches)
    steady = (
        # The first frame after each beginning says what the track is from there on.
        f"[{selector}]asplit[all][told];[told]aselect=eq(n\\,0),ashowinfo@{name},anullsink;"
        f"[all]aresample={AUDIO_RATE_HZ},asplit={len(branches)}{split};"
    ) + ";".join(
        f"[split_{branch.name}]aformat=sample_fmts=fltp:sample_rates={AUDIO_RATE_HZ}"
        # Of a graph that feeds another ffmpeg takes nothing more when it ends, and what the filters of the second
        # still hold would be lost. So it never does.
        f":channel_layouts={branch.channel_layout},apad[steady_{branch.name}]"
        for branch in branches
    )
    return ["-filter_complex", steady, *behind(branches)]


def behind(branches: Sequence[Branch]) -> list[str]:
    """The second graphs: one for each branch, which waits for no other track, behind ``[steady_<name>]``."""
    graphs = [f"[steady_{branch.name}]{','.join(branch.filters)}[{branch.name}]" for branch in branches]
    return [part for graph in graphs for part in ("-filter_complex", graph)]

"""Which programme and which sound of a mezzanine the inspection goes on with; what is refused, and what is left out."""

from __future__ import annotations

from include.adapters import tools
from include.adapters.encryption import encryption
from include.adapters.ffmpeg.choices import covers_marked, decodable_sound, one_programme, undecodable
from include.adapters.ffmpeg.ffprobe import Fields, Probe, audio_stream, packets
from include.adapters.mezzanine import reader
from include.base.errors import MezzanineRejected
from include.domain.media.choosing import NotThere, assembled, main_first, without_receiver_mixes
from include.domain.media.media import AudioStream, Finding, MezzanineIdentity
from include.domain.media.rejection import Reason
from include.stages.core import StageContext

TRIAL_LIMIT_S = 120.0
"""For the first sample of every audio track."""
LOOK_S = 5.0


def the_programme(
    ctx: StageContext, identity: MezzanineIdentity, address: str, found: Probe
) -> tuple[Probe, int | None, list[Finding]]:
    """What is published of a mezzanine: one programme's streams, its number, and what was left out. Covers are flagged.

    Raises :class:`MezzanineRejected` where it is encrypted, or lacks the programme that the request names.
    """
    try:
        chosen, number, findings = one_programme(found, ctx.title.programme)
    except NotThere as error:
        raise _unlike_the_request(error) from error
    scheme = encryption(chosen, reader(ctx, identity))
    if scheme is not None:
        raise MezzanineRejected(
            f"the mezzanine is encrypted ({scheme}): it cannot be read without its key; deliver it unencrypted",
            reason=Reason.ENCRYPTED,
        )
    limit_s = min(TRIAL_LIMIT_S, ctx.time_left_s)
    return covers_marked(tools.ffprobe(ctx.settings), address, chosen, timeout_s=limit_s), number, findings


def without_picture(ctx: StageContext, address: str, found: Probe, stream: Fields) -> MezzanineRejected:
    """Why a video stream of which ffprobe saw no picture is refused: it is damaged, or nothing of it is there."""
    program, index = tools.ffprobe(ctx.settings), int(stream["index"])
    limit_s = min(TRIAL_LIMIT_S, ctx.time_left_s)
    codec = stream.get("codec_name") or "video"
    if packets(program, address, index=index, first_s=LOOK_S, timeout_s=limit_s).count:
        return MezzanineRejected(
            f"no picture of the {codec} stream can be decoded: its data is damaged, or not what its container says",
            reason=Reason.UNDECODABLE,
        )
    others = (int(each["index"]) for each in found.streams if int(each["index"]) != index)
    if any(packets(program, address, index=each, first_s=LOOK_S, timeout_s=limit_s).count for each in others):
        return MezzanineRejected(f"the {codec} stream of the mezzanine holds no pictures", reason=Reason.NO_VIDEO)
    return MezzanineRejected(
        "the mezzanine is cut short: its header is there, its pictures and its sound are not", reason=Reason.TRUNCATED
    )


def sound_tracks(ctx: StageContext, address: str, found: Probe) -> tuple[tuple[AudioStream, ...], list[Finding]]:
    """The audio tracks as they are meant, the main sound first, and what is odd about them.

    Raises :class:`MezzanineRejected` where none of them can be decoded, or where the request describes others.
    """
    streams = [stream for stream in found.streams if stream.get("codec_type") == "audio"]
    program = tools.ffmpeg(ctx.settings)
    known = decodable_sound(program) if streams else frozenset()
    tracks = [track for track in map(audio_stream, streams) if track is not None and track.codec in known]
    if tracks:
        indexes = [track.index for track in tracks]
        deaf = undecodable(program, address, indexes, timeout_s=min(TRIAL_LIMIT_S, ctx.time_left_s))
        tracks = [track for track in tracks if track.index not in deaf]
    kept = {track.index for track in tracks}
    lost = [
        f"{number} ({stream.get('codec_name') or stream.get('codec_tag_string') or 'unknown'})"
        for number, stream in enumerate(streams, start=1)
        if int(stream["index"]) not in kept
    ]
    if lost and not tracks:
        raise MezzanineRejected(
            f"no decoder reads the mezzanine's sound: audio track {', '.join(lost)}; deliver it as PCM, AAC, AC-3 or "
            "another common codec",
            reason=Reason.UNDECODABLE,
        )
    findings = [
        Finding(code="unreadable_audio", message=f"no decoder reads audio track {each}: it is left out")
        for each in lost
    ]
    dependent = {int(each["index"]) for each in streams if each.get("disposition", {}).get("dependent")}
    tracks, mixed_late = without_receiver_mixes(tracks, dependent)
    named = str(found.container.get("format_name", ""))
    unnamed_pairs = "mxf" in named or str(found.container.get("tags", {}).get("major_brand", "")).strip() == "qt"
    try:
        audio, assembling = assembled(tracks, unnamed_pairs=unnamed_pairs, asked=ctx.title.audio_layouts)
    except NotThere as error:
        raise _unlike_the_request(error) from error
    return main_first(audio), [*findings, *mixed_late, *assembling]


def _unlike_the_request(error: NotThere) -> MezzanineRejected:
    return MezzanineRejected(f"the mezzanine is not as the request says: {error}", reason=Reason.NOT_AS_REQUESTED)

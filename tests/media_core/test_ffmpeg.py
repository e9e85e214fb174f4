from __future__ import annotations

import pytest

from include.adapters.ffmpeg.commands import (
    ProgressParser,
    analysis_argv,
    decode_argv,
    encode_argv,
    first_times_argv,
    loudness_argv,
    matched_argv,
    trial_argv,
)
from include.adapters.ffmpeg.opening import OpenedMezzanine, input_argv
from include.adapters.ffmpeg.progressive import progressive
from include.domain.media.media import Window
from include.domain.recipe.rate_control import CappedCrf, NvencCq
from include.domain.recipe.rungs import Rendition
from include.domain.recipe.treatment import SourceTreatment
from tests.media_core.samples import video

GUARDED = (
    "-analyzeduration 20000000 -copyts -format_whitelist mov,mp4,avi,matroska,webm,mxf,mpegts,mpeg "
    "-itsoffset -1.400000 -max_pixels 67108864 -probesize 20000000 -protocol_whitelist file"
)


DECODED = GUARDED.replace("-copyts -format_", "-apply_cropping codec -copyts -format_").replace(
    "-probesize 20000000 -protocol_whitelist file",
    "-noautorotate -probesize 20000000 -protocol_whitelist file -reinit_filter:v 0",
)
"""Of an input whose pictures are encoded."""


def capped(crf: float) -> CappedCrf:
    return CappedCrf(crf=crf, maxrate_kbps=800, bufsize_kbps=1200)


def rendition(**fields: object) -> Rendition:
    known: dict[str, object] = {
        "name": "h264_360p",
        "rung": "360p",
        "codec": "h264",
        "encoder": "libx264",
        "width": 640,
        "height": 360,
        "frame_rate": "24000/1001",
        "frames": None,
        "rate_control": capped(23.0),
        "treatment": SourceTreatment(),
        "preset": "medium",
        "profile": "high",
        "gop_frames": 48,
        "core": True,
    }
    return Rendition(**{**known, **fields})  # type: ignore[arg-type]  # a table of fields


def command(made: Rendition, source: str = "/m/a:b.mp4", **fields: object) -> str:
    argv = encode_argv(
        "ffmpeg",
        OpenedMezzanine(address=source, origin_s=1.4),
        video(frame_rate="24000/1001", index=1, **fields),
        made,
        "/out/x.mp4",
        threads=2,
        frames=264,
        held=24,
    )
    return " ".join(argv)


def test_the_command_of_an_h264_rendition() -> None:
    assert (
        "ffmpeg -nostdin -hide_banner -y -loglevel level+warning -nostats -progress pipe:1 -filter_threads 2 "
        f"{DECODED} -threads 2 -i file:/m/a:b.mp4 -filter_complex "
        "[0:1]setparams=colorspace=bt709[s0];"
        "[s0]scale=1920:1080:flags=bicubic+accurate_rnd+full_chroma_int:out_range=limited[s1];"
        "[s1]fps=fps=24000/1001:round=near:start_time=0[s2];"
        "[s2]tpad=stop=24:stop_mode=clone[s3];[s3]trim=end_frame=264[s4];"
        "[s4]scale=640:360:flags=bicubic+accurate_rnd+full_chroma_int:in_color_matrix=bt709:out_color_matrix=bt709:"
        "out_range=limited[s5];"
        "[s5]setsar=1[s6];[s6]format=yuv420p[s7];"
        "[s7]setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=limited[s8] "
        "-map [s8] -f mp4 -a53cc 0 -bufsize 1200k -c:v libx264 -color_primaries bt709 -color_range tv -color_trc bt709 "
        "-colorspace bt709 -crf 23 -fps_mode passthrough -g 48 -keyint_min 48 -map_chapters -1 -map_metadata -1 "
        "-maxrate 800k -preset medium -profile:v high -sc_threshold 0 -tag:v avc1 -threads 2 "
        "-x264-params open-gop=0 /out/x.mp4"
    ) == command(rendition())


def test_the_command_of_a_vp9_rendition() -> None:
    made = rendition(codec="vp9", encoder="libvpx-vp9", preset="4", profile=None, rate_control=capped(34.5))

    assert command(made).endswith(
        "-map [s8] -f webm -b:v 800k -bufsize 1200k -c:v libvpx-vp9 -color_primaries bt709 -color_range tv "
        "-color_trc bt709 -colorspace bt709 -cpu-used 4 -crf 34.5 -deadline good -fps_mode passthrough -g 48 "
        "-keyint_min 48 -map_chapters -1 -map_metadata -1 -maxrate 800k -row-mt 1 -threads 2 /out/x.mp4"
    )


def test_the_command_of_a_rendition_by_hardware() -> None:
    made = rendition(encoder="h264_nvenc", preset="p5", tune="hq", rate_control=NvencCq.like(capped(24.0)))

    assert command(made).endswith(
        "-map [s8] -f mp4 -a53cc 0 -b:v 0 -b_ref_mode disabled -bf 2 -bufsize 1200k -c:v h264_nvenc "
        "-color_primaries bt709 -color_range tv -color_trc bt709 -colorspace bt709 -cq 24 "
        "-force_key_frames expr:eq(mod(n,48),0) -forced-idr 1 -fps_mode passthrough -g 48 "
        "-map_chapters -1 -map_metadata -1 -maxrate 800k -no-scenecut 1 "
        "-preset p5 -profile:v high -rc vbr -rc-lookahead 20 -spatial-aq 1 -tag:v avc1 -threads 2 "
        "-tune hq /out/x.mp4"
    )
    assert "fps=fps=24000/1001" in command(made)


def test_a_trial_has_the_size_and_the_options_of_the_encode() -> None:
    made = rendition(encoder="h264_nvenc", preset="p5", tune="hq", rate_control=NvencCq.like(capped(23.0)))
    trial = trial_argv("ffmpeg", made)

    assert " ".join(trial).startswith("ffmpeg -nostdin -hide_banner -loglevel level+warning -nostats -f lavfi -i ")
    assert trial[trial.index("-i") + 1] == "testsrc2=size=640x360:rate=24000/1001"
    assert (trial[trial.index("-frames:v") + 1], trial[trial.index("-f", 8) + 1], trial[-1]) == ("10", "null", "-")
    options = command(made).split()
    for name in ("-preset", "-rc", "-cq", "-g", "-force_key_frames", "-b_ref_mode", "-profile:v"):
        assert trial[trial.index(name) + 1] == options[options.index(name) + 1]


def test_an_interlaced_hdr_source_is_deinterlaced_before_its_rate_and_tone_mapped_after() -> None:
    made = command(
        rendition(treatment=SourceTreatment(deinterlace=True, tone_map=True)),
        color_transfer="arib-std-b67",
        color_primaries="bt2020",
        color_space="unknown",
    )

    graph = made.partition("-filter_complex ")[2].partition(" -map ")[0]
    assert [step.partition("]")[2].rpartition("[")[0] for step in graph.split(";")][:11] == [
        "setparams=colorspace=bt2020nc",
        "scale=1920:1080:flags=bicubic+accurate_rnd+full_chroma_int:interl=1:out_range=limited",
        "bwdif=deint=all:mode=send_frame:parity=auto",
        "fps=fps=24000/1001:round=near:start_time=0",
        "setparams=color_primaries=bt2020:color_trc=arib-std-b67:colorspace=bt2020nc:range=limited",
        "zscale=npl=203:transfer=linear",
        "format=gbrpf32le",
        "zscale=primaries=bt709",
        "tonemap=desat=0:param=0.75:peak=49.26:tonemap=mobius",
        "zscale=dither=error_diffusion:matrix=bt709:primaries=bt709:range=limited:transfer=bt709",
        "format=yuv420p",
    ]


def test_a_ladder_may_hold_rungs_that_are_tone_mapped_and_rungs_that_are_not() -> None:
    hdr = {"color_transfer": "smpte2084"}
    sdr_rung, hdr_rung = SourceTreatment(tone_map=True), SourceTreatment()

    assert "tonemap=" in command(rendition(treatment=sdr_rung), **hdr)
    assert "tonemap=" not in command(rendition(treatment=hdr_rung), **hdr)


def test_a_slow_preset_keeps_the_references_that_the_level_allows_and_a_tune_is_passed_on() -> None:
    made = command(rendition(preset="slow", tune="film"))

    assert "-refs 4 " in made
    assert "-tune film " in made
    assert "-refs" not in command(rendition())


def test_a_presigned_address_is_read_over_the_network_and_a_path_is_not() -> None:
    encode = command(rendition(), source="https://s3.test/k?a=1")
    for part in ("-protocol_whitelist https,tls,tcp ", "-tls_verify 1 ", "-reconnect 1 ", "-i https://s3.test/k?a=1 "):
        assert part in encode
    assert "tls_verify" not in command(rendition(), source="http://s3.test/k?a=1")
    assert "reconnect" not in command(rendition())
    assert input_argv("/m/concat:x.mp4")[:2] == ["-protocol_whitelist", "file"]
    assert input_argv("/m/concat:x.mp4")[-2:] == ["-i", "file:/m/concat:x.mp4"]


def test_rgb_is_scaled_without_a_matrix() -> None:
    assert "in_color_matrix" not in command(rendition(), pixel_format="gbrp")


def test_the_command_that_decodes_a_window() -> None:
    argv = decode_argv(
        "ffmpeg",
        OpenedMezzanine(address="/m/a.mp4", origin_s=1.4),
        video_index=1,
        audio_indexes=[2],
        from_s=4.0,
        to_s=6.0,
        constant_rate="25",
        threads=2,
    )

    text = " ".join(argv)
    assert text.startswith("ffmpeg -nostdin -hide_banner -loglevel repeat+level+verbose -nostats -max_error_rate 1 ")
    # The seek counts on the container's clock, the cut on the title's.
    assert "-copyts -itsoffset -1.400000 -seek_timestamp 1 -ss 5.400000 -noaccurate_seek -i file:/m/a.mp4 " in text
    assert text.endswith(
        "-i file:/m/a.mp4 -map 0:1 -map 0:2 -filter:v trim=end=6.000000,fps=fps=25:start_time=0:round=near "
        "-fps_mode passthrough -enc_time_base:v demux -stats_enc_pre:v pipe:1 -stats_enc_pre_fmt:v v {pts} {tb} "
        "-filter:a atrim=end=6.000000 -stats_enc_pre:a:0 pipe:01 "
        "-stats_enc_pre_fmt:a a {sidx} {pts} {samp} {tb} -f null -"
    )


@pytest.mark.parametrize(("start_s", "begin"), [(0.0, "0"), (2.043708, "2.002000"), (2.002, "2.002000")])
def test_film_is_put_together_in_cycles_that_count_from_the_title_s_zero(start_s: float, begin: str) -> None:
    import ffmpeg

    source = video(frame_rate="2997/100")
    treatment = SourceTreatment(inverse_telecine=True, top_field_first=False)
    node = progressive(ffmpeg.input("a.ts").video, source, treatment, start_s=start_s)

    graph = ffmpeg.output(node, "-", f="null").compile()[4]

    assert [part.partition("]")[2].partition("[")[0] for part in graph.split(";")] == [
        f"fps=fps=30000/1001:round=near:start_time={begin}",
        "fieldmatch=combmatch=full:order=bff",
        "bwdif=deint=interlaced:mode=send_frame:parity=auto",
        "decimate=cycle=5",
    ]


def test_pictures_of_fields_come_at_twice_the_rate() -> None:
    import ffmpeg

    treatment = SourceTreatment(deinterlace=True, field_pictures=True)
    node = progressive(ffmpeg.input("a.ts").video, video(), treatment)

    assert "bwdif=deint=all:mode=send_field:parity=auto" in " ".join(ffmpeg.output(node, "-", f="null").compile())


def test_every_command_that_reads_a_mezzanine_is_guarded() -> None:
    windows = [Window(start_s=0, duration_s=1), Window(start_s=3, duration_s=1)]
    opened = OpenedMezzanine(address="/m/a.mp4", origin_s=1.4)
    commands = [
        analysis_argv("ffmpeg", opened, video_index=0, window=windows[0], from_s=0.0, threads=1, output="a.txt"),
        loudness_argv("ffmpeg", opened, audio_index=1, windows=windows),
        decode_argv("ffmpeg", opened, video_index=0, threads=1),
        first_times_argv("ffmpeg", opened, indexes=[0, 1]),
        matched_argv(
            "ffmpeg",
            opened,
            video_index=0,
            window=windows[0],
            from_s=0.0,
            frame_rate="30000/1001",
            top_field_first=True,
            threads=1,
            output="a.txt",
        ),
    ]

    for argv in commands:
        assert "-nostdin" in argv
        assert argv.count("-i") == argv.count("-protocol_whitelist") == argv.count("-format_whitelist")
        assert argv.count("-i") == argv.count("-copyts") == argv.count("-itsoffset")
    assert commands[1].count("-i") == 2
    assert (
        "[0:1]atrim=start=0.000000:end=1.000000,asetpts=PTS-STARTPTS[0];"
        "[1:1]atrim=start=3.000000:end=4.000000,asetpts=PTS-STARTPTS[1];"
        "[0][1]concat=n=2:v=0:a=1,ebur128=peak=true:framelog=quiet[out]"
    ) in commands[1]


def test_progress_comes_in_blocks() -> None:
    parser = ProgressParser()
    lines = ["frame=12", "out_time_us=480000", "speed= 2.5x", "progress=continue", "frame=N/A", "out_time_us=N/A"]

    states = [state for state in (parser.feed(line) for line in [*lines, "speed=N/A", "progress=end"]) if state]

    assert [(state.frames, state.out_time_s, state.speed, state.finished) for state in states] == [
        (12, 0.48, 2.5, False),
        (0, None, None, True),
    ]

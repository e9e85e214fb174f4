"""A stand-in for the hardware alone: an ffmpeg whose NVENC is the real ffmpeg's libx264, or fails as cards do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from include.adapters.tools import ffmpeg
from include.base.settings import Settings

CardFault = Literal["", "no_encoder", "busy", "small_refused", "dies", "hangs", "odd_keyframes"]
"""What is wrong with the card: the last three show only after a trial of a few frames."""

SCRIPT = """#!{python}
import os, subprocess, sys, time

FFMPEG, FAULT = {ffmpeg!r}, {fault!r}
DROPPED = {{"-tune", "-rc", "-b:v", "-spatial-aq"}}
RENAMED = {{"-cq": "-crf"}}
REPLACED = {{"-c:v": ("-c:v", "libx264"), "-preset": ("-preset", "superfast"), "-no-scenecut": ("-sc_threshold", "0"),
            "-b_ref_mode": ("-b-pyramid", "none")}}

argv = sys.argv[1:]
if "h264_nvenc" not in argv:
    os.execv(FFMPEG, [FFMPEG, *argv])
trial = "-frames:v" in argv


def end(code, *lines):
    for line in lines:
        print(f"[h264_nvenc @ 0x55d0c0ffee00] [error] {{line}}", file=sys.stderr)
    if code == 244:
        print("[vost#0:0/h264_nvenc @ 0x55d0c0ffee40] [error] Error while opening encoder: Cannot allocate memory",
              file=sys.stderr)
    sys.exit(code)


if FAULT == "no_encoder":
    end(218, "OpenEncodeSessionEx failed: unsupported device (2): (no details)", "No capable devices found")
if FAULT == "busy":
    end(244, "OpenEncodeSessionEx failed: out of memory (10): (no details)")
if FAULT == "small_refused" and any("256x144" in each or "256:144" in each for each in argv):
    end(234, "InitializeEncoder failed: invalid param (8): Frame Dimension less than the minimum supported value.")

translated = []
options = iter(argv)
for option in options:
    if option in DROPPED:
        next(options)
    elif option in REPLACED:
        next(options)
        translated += REPLACED[option]
    else:
        translated.append(RENAMED.get(option, option))
if FAULT == "odd_keyframes" and not trial:
    for option, value in (("-g", "17"), ("-force_key_frames", "0")):
        translated[translated.index(option) + 1] = value
if FAULT == "hangs" and not trial:
    time.sleep(600)
if FAULT == "dies" and not trial:
    translated[-1:-1] = ["-frames:v", "20"]
    subprocess.run([FFMPEG, *translated], check=True)
    end(187, "EncodePicture failed!: generic error (20): (no details)")
os.execv(FFMPEG, [FFMPEG, *translated])
"""


def ffmpeg_with_card(folder: Path, fault: CardFault = "") -> Path:
    """An ffmpeg on a machine with an NVIDIA card; everything but NVENC is the real one."""
    script = folder / f"ffmpeg-{fault or 'sound'}"
    script.write_text(SCRIPT.format(python=sys.executable, ffmpeg=ffmpeg(Settings()), fault=fault))
    script.chmod(0o755)
    return script

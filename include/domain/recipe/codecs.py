"""The codecs that Callsheet encodes, in one table."""

from __future__ import annotations

from collections.abc import Mapping

ENCODERS: Mapping[str, str] = {"h264": "libx264", "vp9": "libvpx-vp9"}

PROFILES: Mapping[str, str] = {"h264": "high"}

HARDWARE_ENCODERS: Mapping[str, str] = {"h264": "h264_nvenc"}

HARDWARE_TUNE = "hq"

HARDWARE_LEAST = (146, 50)
"""Width and height below which NVENC refuses H.264; such a rung is not worth the wait for a GPU either."""

HARDWARE_MOST = 4096
"""Longest side of H.264 that NVENC takes."""

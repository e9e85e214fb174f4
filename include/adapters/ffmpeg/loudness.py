"""Measures loudness and peaks in any number of places of one command, and moves the level: filters, and their reports.

The true peak is the highest sample at four times the rate, made with ffmpeg's own resampler: ``ebur128`` finds it the
same way, in double precision and at twice the price (docs/decisions/0024).
"""

from __future__ import annotations

import math
import re

from include.domain.media.loudness import Level, Loudness

_OVERSAMPLED_HZ = 192_000
_HEADROOM_DB = 24.0
"""The filter that finds the highest sample knows 16 bits: a sound in floating point may be above full scale."""
_SILENCE_LUFS = -69.0
"""ebur128 says -70 of a track in which nothing is loud enough to count."""
_MOST_LUFS = 9.8
"""ebur128 knows nothing louder than +10."""
_VALUE = r"(-?[\d.]{1,12}|-?inf|-?nan)"
_INTEGRATED = re.compile(rf"^ {{1,8}}I: {{1,12}}{_VALUE} LUFS", re.MULTILINE)
_RANGE = re.compile(rf"^ {{1,8}}LRA: {{1,12}}{_VALUE} LU", re.MULTILINE)
_SAMPLE_PEAK = re.compile(rf"^ {{1,8}}Peak: {{1,12}}{_VALUE} dBFS", re.MULTILINE)
_AT_ONCE = 4096
"""Samples that go through the filters together: decoders give fewer, and what each piece costs adds up."""
_ATTACK_MS = 5
_RELEASE_MS = 50


def measuring(name: str, *, each_channel: bool = False) -> str:
    """The end of a filter chain, which measures what comes and lets it through; read by :func:`measured`.

    Args:
        name: What the filters are called in the command, and no others: letters, digits and underscores.
        each_channel: Whether the highest sample of each channel is wanted as well (:func:`channel_peaks`).
    """
    return (
        f"asetnsamples=n={_AT_ONCE}:p=0,asplit[{name}_loud][{name}_peak];"
        f"[{name}_peak]volume=-{_HEADROOM_DB:g}dB,aresample={_OVERSAMPLED_HZ},volumedetect@{name},anullsink;"
        f"[{name}_loud]"
        + (f"astats@{name}=measure_perchannel=Peak_level:measure_overall=none," if each_channel else "")
        + f"ebur128@{name}=framelog=quiet:peak=sample"
    )


def measured(stderr: str, name: str) -> Loudness:
    """What :func:`measuring` has measured; raises :class:`ValueError` where the report is not whole.

    That happens where two graphs of a command have written theirs at the same moment. Then no value of that command is
    to be trusted: it has to be run again.

    Args:
        stderr: Of the whole command, at the loglevel ``info``.
        name: Of the filters.
    """
    summary = _summary(stderr, name)
    integrated, sample_peak = _number(_INTEGRATED, summary), _number(_SAMPLE_PEAK, summary)
    oversampled = _number(re.compile(rf"\[volumedetect@{name} @ \w{{1,32}}\] max_volume: {_VALUE} dB"), stderr)
    if integrated is None or sample_peak is None or oversampled is None:
        raise ValueError(f"there is no whole report of {name}")
    true_peak = round(max(sample_peak, oversampled + _HEADROOM_DB), 1)
    return Loudness(
        integrated_lufs=_lufs(integrated),
        range_lu=_number(_RANGE, summary) or 0.0,
        sample_peak_dbfs=sample_peak,
        true_peak_dbtp=true_peak,
    )


def beyond_measure(loudness: Loudness) -> bool:
    """Whether a sound is louder than can be measured as it is: it has to be measured again with less gain."""
    integrated = loudness.integrated_lufs
    return integrated is not None and integrated > _MOST_LUFS and math.isfinite(loudness.sample_peak_dbfs)


def channel_peaks(stderr: str, name: str) -> tuple[float, ...]:
    """Highest sample of each channel in dBFS; minus infinity for silence. Arguments as of :func:`measured`."""
    found = re.findall(rf"\[astats@{name} @ \w{{1,32}}\] Peak level dB: {_VALUE}", stderr)
    return tuple(_float(each) for each in found)


def levelling(chosen: Level, name: str) -> list[str]:
    """The filters that bring a sound to its level; none where it stays as it is.

    How loud it is behind a limiter is measured there, and read by :func:`limited_lufs`: nothing tells it before.

    Args:
        chosen: The level.
        name: As of :func:`measuring`.
    """
    filters = [f"volume={chosen.gain_db:.2f}dB"] if chosen.gain_db else []
    if chosen.limited_db:
        limit = 10 ** (chosen.limit_dbfs / 20)
        # It looks ahead, and takes the delay of that out again: every sample stays at its place.
        options = f"limit={limit:.5f}:attack={_ATTACK_MS}:release={_RELEASE_MS}:level=0:latency=1"
        filters += [f"alimiter={options}", f"ebur128@{name}=framelog=quiet"]
    return filters


def limited_lufs(stderr: str, name: str) -> float | None:
    """Integrated loudness behind the limiter of :func:`levelling`; None in silence.

    Raises :class:`ValueError` where the report is not whole, as :func:`measured`.

    Args:
        stderr: Of the whole command, at the loglevel ``info``.
        name: Of the filters.
    """
    integrated = _number(_INTEGRATED, _summary(stderr, name))
    if integrated is None:
        raise ValueError(f"there is no whole report of {name}")
    return _lufs(integrated)


def _summary(stderr: str, name: str) -> str:
    """The last report of one ``ebur128``; empty for none.

    Graphs run side by side and write their reports in pieces: one belongs to a name as far as the next name's.
    """
    _, begun, rest = stderr.rpartition(f"[ebur128@{name} @ ")
    return rest.partition("[ebur128@")[0] if begun else ""


def _lufs(reported: float) -> float | None:
    return None if not math.isfinite(reported) or reported <= _SILENCE_LUFS else reported


def _number(pattern: re.Pattern[str], text: str) -> float | None:
    """The one value there is; None also where there are several, for then a report has run into another."""
    found = pattern.findall(text)
    return _float(found[0]) if len(found) == 1 else None


def _float(text: str) -> float:
    """A number, minus infinity for none."""
    try:
        value = float(text)
    except ValueError:
        return -math.inf
    return -math.inf if math.isnan(value) else value

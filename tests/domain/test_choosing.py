"""Which streams are published, as what: decided from what the container says."""

from __future__ import annotations

from typing import Any

import pytest

from include.domain.media.choosing import (
    NotThere,
    Programme,
    assembled,
    chosen_programme,
    main_first,
    role_of,
    sounds,
    without_receiver_mixes,
)
from include.domain.media.labels import sound_label
from include.domain.media.media import AudioRole, AudioStream

ONE = Programme(number=101, name="One", streams=frozenset({0, 1}))
TWO = Programme(number=202, name="Two", streams=frozenset({2, 3}))


def track(index: int, **fields: Any) -> AudioStream:
    given = {"codec": "pcm_s16le", "channels": 2, "channel_layout": "stereo", "sample_rate_hz": 48000, **fields}
    return AudioStream(index=index, **given)


def mono(index: int, layout: str | None = None, **fields: Any) -> AudioStream:
    return track(index, channels=1, channel_layout=layout, **fields)


def taps(tracks: tuple[AudioStream, ...]) -> list[list[tuple[int, int]]]:
    return [[(tap.stream, tap.channel) for tap in each.taps] for each in tracks]


@pytest.mark.parametrize(
    ("pictures", "wanted", "number"),
    [([0, 2], None, 101), ([2], None, 202), ([0, 2], 202, 202), ([], None, None)],
    ids=["the first", "the first with a picture", "the one that is asked for", "no picture at all"],
)
def test_one_programme_is_chosen(pictures: list[int], wanted: int | None, number: int | None) -> None:
    chosen, findings = chosen_programme([ONE, TWO], pictures, wanted)

    assert (chosen.number if chosen else None) == number
    assert [each.code for each in findings] == ([] if number is None else ["programmes"])
    assert all("Left out: programme" in each.message for each in findings)


@pytest.mark.parametrize(
    ("programmes", "wanted", "said"),
    [
        ([ONE, TWO], 7, r"there is no programme 7 .*\(there are: 101 \(One\), 202 \(Two\)\)"),
        ([ONE, TWO], 202, "programme 202 has no picture"),
        ([], 1, "only an MPEG transport stream has programmes"),
    ],
)
def test_a_programme_that_is_not_there_is_named_with_those_that_are(
    programmes: list[Programme], wanted: int, said: str
) -> None:
    with pytest.raises(NotThere, match=rf"^source\.programme: .*{said}"):
        chosen_programme(programmes, [0], wanted)


def test_a_single_programme_needs_no_word() -> None:
    assert chosen_programme([ONE], [0], None) == (ONE, [])


@pytest.mark.parametrize(
    ("flags", "title", "role"),
    [
        ({"visual_impaired", "descriptions"}, None, "description"),
        ({"comment", "default"}, None, "commentary"),
        ({"hearing_impaired"}, None, "clear_speech"),
        ({"clean_effects"}, None, "effects"),
        ({"default", "original", "dub"}, None, "main"),
        (set(), "English Audio Description", "description"),
        (set(), "Director's Commentary", "commentary"),
        (set(), "Kommentar", "commentary"),
        (set(), "M&E", "effects"),
        (set(), "English 5.1", "main"),
        (set(), "Dolby Digital", "main"),
    ],
)
def test_what_a_track_is_for(flags: set[str], title: str | None, role: str) -> None:
    assert role_of(flags, title) == role


def test_the_main_sound_comes_first_even_where_narration_is_the_default() -> None:
    tracks = (
        track(1, role=AudioRole.DESCRIPTION, default=True),
        track(2, role=AudioRole.COMMENTARY),
        track(3),
        track(4, default=True),
    )

    assert [each.index for each in main_first(tracks)] == [4, 3, 1, 2]


def test_narration_for_a_receiver_to_mix_is_left_out_beside_whole_tracks_alone() -> None:
    main, narration = track(1), track(2, role=AudioRole.DESCRIPTION)

    assert [each.index for each in without_receiver_mixes([main, narration], {2})[0]] == [1]
    assert [each.code for each in without_receiver_mixes([main, narration], {2})[1]] == ["receiver_mix"]
    assert without_receiver_mixes([main, narration], set()) == ([main, narration], [])
    assert without_receiver_mixes([narration], {2}) == ([narration], [])


@pytest.mark.parametrize(
    ("tracks", "pairs", "expected"),
    [
        ([mono(1, "1 channels (FL)"), mono(2, "1 channels (FR)")], False, [[(1, 0), (2, 0)]]),
        ([mono(1, "1 channels (DL)"), mono(2, "1 channels (DR)")], False, [[(1, 0), (2, 0)]]),
        ([mono(1, title="Dialogue L"), mono(2, title="Dialogue R")], False, [[(1, 0), (2, 0)]]),
        ([mono(n) for n in range(1, 5)], True, [[(1, 0), (2, 0)], [(3, 0), (4, 0)]]),
        ([mono(n) for n in range(1, 4)], True, [[(1, 0), (2, 0)], []]),
        ([mono(1), mono(2)], False, [[], []]),
        ([mono(1, "mono"), mono(2, "mono")], True, [[], []]),
        ([mono(1, language="en"), mono(2, language="de")], True, [[], []]),
        ([mono(1), mono(2, role=AudioRole.DESCRIPTION)], True, [[], []]),
        ([mono(1, title="English"), mono(2, title="Deutsch")], True, [[], []]),
        ([mono(1, "1 channels (FR)"), mono(2, "1 channels (FL)")], True, [[(1, 0)], [(2, 0)]]),
        (
            [mono(n, f"1 channels ({place})") for n, place in enumerate(("FL", "FR", "FC", "LFE", "SL", "SR"), 1)],
            False,
            [[(n, 0) for n in range(1, 7)]],
        ),
    ],
)
def test_mono_tracks_that_belong_together_are_one(
    tracks: list[AudioStream], pairs: bool, expected: list[list[tuple[int, int]]]
) -> None:
    placed, findings = assembled(tracks, unnamed_pairs=pairs)

    assert taps(placed) == expected
    assert bool(findings) == any(len(each) > 1 for each in expected)


@pytest.mark.parametrize(
    ("channels", "layout", "taken", "code"),
    [
        (16, "unknown", 6, "unnamed_channels"),
        (10, None, 6, "unnamed_channels"),
        (8, "8 channels", 6, "unnamed_channels"),
        (4, "unknown", 2, "unnamed_channels"),
        (4, "ambisonic 1", 1, "ambisonic"),
        (10, "5.1.4", 0, None),
        (2, "unknown", 0, None),
        (1, "unknown", 0, None),
    ],
)
def test_channels_without_names_are_taken_for_the_usual_ones_and_it_is_said(
    channels: int, layout: str | None, taken: int, code: str | None
) -> None:
    (placed,), findings = assembled([track(1, channels=channels, channel_layout=layout)], unnamed_pairs=True)

    assert [(tap.stream, tap.channel) for tap in placed.taps] == [(1, number) for number in range(taken)]
    assert [each.code for each in findings] == ([code] if code else [])
    assert placed.channels == (taken or channels)


def test_a_request_says_how_channels_belong_together() -> None:
    eight = [mono(number) for number in range(1, 9)]

    placed, findings = assembled(eight, unnamed_pairs=True, asked=("5.1", "mono"))

    assert taps(placed) == [[(number, 0) for number in range(1, 7)], [(7, 0)]]
    assert [(each.channels, each.channel_layout) for each in placed] == [(6, "5.1"), (1, "mono")]
    assert [each.message for each in findings] == [
        "1 audio channels that source.audio_layouts does not name are left out"
    ]
    plain = track(1)
    assert assembled([plain], unnamed_pairs=False, asked=("stereo",)) == ((plain,), [])
    with pytest.raises(NotThere, match=r"^source\.audio_layouts: 5\.1 \+ stereo are 8 channels, the mezzanine has 2"):
        assembled([plain], unnamed_pairs=False, asked=("5.1", "stereo"))


@pytest.mark.parametrize(
    ("tracks", "expected"),
    [
        ([track(1), track(2, channels=6)], [(1, 2)]),
        ([track(1, channels=6), track(2)], [(2, 1)]),
        ([track(1, title="English Stereo"), track(2, channels=6, title="English (Dolby Digital 5.1)")], [(1, 2)]),
        ([track(1, channels=8), track(2, channels=6), track(3)], [(3, 1)]),
        ([track(1), track(2)], [(1, None), (2, None)]),
        ([track(1, language="en"), track(2, channels=6, language="de")], [(1, None), (2, 2)]),
        ([track(1, role=AudioRole.COMMENTARY), track(2, channels=6)], [(1, None), (2, 2)]),
        ([mono(1), track(2, channels=6)], [(1, None), (2, 2)]),
        ([track(1, channels=6), mono(2)], [(1, 1), (2, None)]),
        ([track(1, title="Theatrical"), track(2, channels=6, title="Restored")], [(1, None), (2, 2)]),
    ],
)
def test_a_stereo_and_a_surround_track_of_one_sound_are_one(
    tracks: list[AudioStream], expected: list[tuple[int, int | None]]
) -> None:
    listed, findings = sounds(tracks)

    assert [(each.track.index, each.surround.index if each.surround else None) for each in listed] == expected
    assert bool(findings) == (tracks[0].channels == 8)


@pytest.mark.parametrize(
    ("title", "role", "shown"),
    [
        (None, AudioRole.MAIN, "English"),
        (None, AudioRole.DESCRIPTION, "English (Audio description)"),
        ("English", AudioRole.COMMENTARY, "English (Commentary)"),
        ("Director's commentary", AudioRole.COMMENTARY, "Director's commentary"),
    ],
)
def test_a_label_says_what_a_track_is_for(title: str | None, role: AudioRole, shown: str) -> None:
    assert sound_label("en", title, role) == shown

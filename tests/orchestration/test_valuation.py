"""Values as Airflow's tasks and the API enter them: on the real catalog, with this farm's own speed."""

from __future__ import annotations

import gc
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from include.adapters.catalog import Catalog, HistoryRow, TaskRow
from include.adapters.store.opening import open_store
from include.base.errors import PlatformUnavailable
from include.base.settings import Settings
from include.cli import calibrate as calibration
from include.domain.cost.calibration import CALIBRATION, MEASURED_FROM, Calibration, SampleEncode
from include.domain.cost.features import task_features
from include.domain.cost.prior import PriorPredictor
from include.domain.cost.rates import SourceShape, encoder_s
from include.domain.cost.tasks import task_s
from include.domain.cost.work import expected_title
from include.domain.title.request import Signals
from include.domain.title.title import State, Tier
from include.recipes import load_cost_rates, load_ladders, load_recipes, load_tiers
from include.services.quotes import quote_batch
from include.services.valuation import (
    FRESH,
    OVERHEAD_S,
    codecs_of,
    farm_factors,
    farm_predictor,
    farm_state,
    revalue,
    task_factors,
    value_batch,
    work_of_request,
)
from tests.catalog.samples import NOW, a_batch, accept, after, find, start

PRIOR = load_recipes().prior
WEEK_S = 7 * 86400
FILM = {"duration_s": 5400, "width": 1920, "height": 1080, "frame_rate": 24}
FEATURES = {
    "encoder": "libx264", "preset": "medium", "frame_rate": "25/1", "width": 1280, "height": 720,
    "source_duration_s": 10.0, "source_width": 1920, "source_height": 1080, "source_fps": 25.0,
}  # fmt: skip


def entered(catalog: Catalog, settings: Settings, batch_id: str, *names: str, now: Any = NOW, **fields: Any) -> None:
    batch = a_batch(batch_id, *names, **fields)
    catalog.batches.accept(batch, pipeline_version=3, now=now, valued=value_batch(batch, catalog, settings, now=now))


def encoded(catalog: Catalog, *rows: dict[str, Any], cpu_s: float = 100.0) -> None:
    """Past encodes of a title."""
    accept(catalog, "past")
    start(catalog, "past/alpha")
    catalog.history.record(
        "past/alpha",
        [
            HistoryRow(rendition=f"r{number}", recipe_hash="x", encoder_version="x", features=features, cpu_s=cpu_s,
                       wall_s=1, peak_memory_mb=1, size_bytes=1, frames=250, duration_s=10)
            for number, features in enumerate(rows)
        ],
        [],
        now=NOW,
    )  # fmt: skip
    catalog.titles.settle("past/alpha", State.FAILED, now=NOW)


def test_a_new_batch_is_valued_beside_those_that_wait(catalog: Catalog, settings: Settings) -> None:
    entered(catalog, settings, "first", "film", tier="premium", source=FILM)
    alone = value_batch(a_batch("second", "clip", tier="ugc"), catalog, settings, now=NOW)
    catalog.titles.settle("first/film", State.FAILED, now=NOW)
    free = value_batch(a_batch("second", "clip", tier="ugc"), catalog, settings, now=NOW)

    (_, behind), (_, first) = alone["clip"], free["clip"]

    # A long film of more value, and a short clip: whoever goes first, the film's work is what there is.
    assert find(catalog, "first/film").score > first.score.points
    assert behind.admission.finish_p50 >= first.admission.finish_p50
    assert catalog.batches.newest()[0].batch_id == "first"


def test_revaluing_enters_what_has_changed_for_one_title_or_for_all(catalog: Catalog, settings: Settings) -> None:
    entered(catalog, settings, "spring", "a", "b", publish_at=after(WEEK_S).isoformat())
    first = {title.title_id: title.priority for title in catalog.queue.open_titles()}
    catalog.queue.signal("spring/a", Signals(views_last_hour=1e6), by="cms", why="viral", now=NOW)

    valued = revalue(catalog, settings, now=after(3600), only="spring/a")

    assert set(valued) == {"spring/a", "spring/b"}
    assert find(catalog, "spring/a").priority > first["a"]
    assert find(catalog, "spring/b").priority == first["b"]
    revalue(catalog, settings, now=after(WEEK_S - 3600))
    assert find(catalog, "spring/a").priority > find(catalog, "spring/b").priority > first["b"], (
        "two promises in danger: the one that came first has one more behind it"
    )


def test_a_title_without_a_valuation_gets_one(catalog: Catalog, settings: Settings) -> None:
    accept(catalog, "spring", "a")
    assert find(catalog, "spring/a").work is None

    revalue(catalog, settings, now=NOW)

    title = find(catalog, "spring/a")
    assert title.valuation is not None
    assert title.work == work_of_request(title.request, "vod", PRIOR)


def test_more_picture_and_more_codecs_are_more_work(settings: Settings) -> None:
    (small,) = a_batch("spring", "a", source={**FILM, "duration_s": 60}).titles
    (large,) = a_batch("spring", "a", source=FILM).titles

    assert work_of_request(large, "vod", PRIOR).full.total.p50_s > work_of_request(small, "vod", PRIOR).full.total.p50_s
    work = work_of_request(large, "vod", PRIOR)
    assert work.least.total.p50_s < work.full.total.p50_s
    slow = work_of_request(
        large,
        "vod",
        PriorPredictor(
            rates=PRIOR.rates,
            factors={("libx264", preset): 2.0 for preset in ("veryfast", "medium", "slow", "slower")},
        ),
    )
    assert slow.full.total.p50_s > work.full.total.p50_s


def test_codecs_are_those_of_the_pipeline_s_plan() -> None:
    assert "h264" in codecs_of("vod")
    assert codecs_of("gone") == ("h264",)


def sampled(*ratios: float, preset: str = "medium") -> Calibration:
    """Sample encodes that took so many times what the prior says."""
    shape = SourceShape(duration_s=10, width=1280, height=720, fps=25)
    given: dict[str, Any] = {"encoder": "libx264", "preset": preset, "pixels": 1280 * 720, "fps": 25, "source": shape}
    predicted_s = encoder_s(**given, rates=load_cost_rates())
    samples = tuple(SampleEncode(content="a", cpu_s=each * predicted_s, **given) for each in ratios)
    return Calibration(measured_at=NOW, encoder_version="9", samples=samples)


def test_a_farm_that_is_slower_than_the_prior_says_so(catalog: Catalog, settings: Settings) -> None:
    assert farm_factors(catalog, settings) == {}
    encoded(catalog, *[FEATURES] * MEASURED_FROM, cpu_s=1000)

    factors = farm_factors(catalog, settings)

    predicted_s = 250 * (1280 * 720 * 48e-9 + 1920 * 1080 * 3.6e-9)
    assert factors == {("libx264", "medium"): pytest.approx(1000 / predicted_s)}


def test_sample_encodes_count_until_the_farm_has_encodes_of_its_own(catalog: Catalog, settings: Settings) -> None:
    medium, slow = sampled(1.5, 2, 7), sampled(3, 3, 3, preset="slow")
    both = medium.model_copy(update={"samples": medium.samples + slow.samples})
    calibration.keep(settings, both)
    assert farm_factors(catalog, settings) == {("libx264", "medium"): 2, ("libx264", "slow"): 3}

    encoded(catalog, *[FEATURES] * MEASURED_FROM, cpu_s=1000)

    factors = farm_factors(catalog, settings)
    assert factors["libx264", "medium"] > 10
    assert factors["libx264", "slow"] == 3


def test_a_calibration_that_cannot_be_read_holds_no_title_up(
    catalog: Catalog, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    open_store(settings).put_bytes(CALIBRATION, b"{}")

    assert farm_factors(catalog, settings) == {}
    assert "forecasts go without the calibration" in caplog.text


def test_an_encode_of_a_moment_calibrates_nothing(catalog: Catalog, settings: Settings) -> None:
    short = {**FEATURES, "source_duration_s": 0.1}
    encoded(catalog, *[short] * MEASURED_FROM, cpu_s=0.4)

    assert farm_factors(catalog, settings) == {}


@pytest.mark.parametrize(
    "features",
    [{}, {**FEATURES, "frame_rate": "25/0"}, {**FEATURES, "source_width": 0}, {**FEATURES, "width": None},
     {**FEATURES, "frame_rate": "x"}],
    ids=["nothing", "no rate", "no source", "no width", "no number"],
)  # fmt: skip
def test_an_encode_that_says_too_little_calibrates_nothing(
    features: dict[str, Any], catalog: Catalog, settings: Settings
) -> None:
    encoded(catalog, *[features] * MEASURED_FROM)

    assert farm_factors(catalog, settings) == {}


def test_a_frame_rate_without_a_denominator_is_one_too(catalog: Catalog, settings: Settings) -> None:
    encoded(catalog, *[{**FEATURES, "frame_rate": "25"}] * MEASURED_FROM)

    assert list(farm_factors(catalog, settings)) == [("libx264", "medium")]


def test_the_collector_rests_only_while_titles_are_valued(catalog: Catalog, settings: Settings, tmp_path: Path) -> None:
    entered(catalog, settings, "spring", "a", "b")
    assert gc.isenabled()
    with pytest.raises(PlatformUnavailable):
        revalue(Catalog(f"sqlite:///{tmp_path / 'no' / 'catalog.db'}"), settings, now=NOW)
    assert gc.isenabled()
    gc.disable()
    try:
        revalue(catalog, settings, now=NOW)
        assert not gc.isenabled(), "whoever has switched it off wants it off"
    finally:
        gc.enable()


def test_the_farm_s_load_is_what_has_come_of_late(catalog: Catalog, settings: Settings) -> None:
    entered(catalog, settings, "old", "a", source=FILM, now=NOW - FRESH - timedelta(seconds=1))
    assert farm_state(catalog.queue.open_titles(), settings, now=NOW).fresh_load == 0
    entered(catalog, settings, "new", "b", source=FILM)
    accept(catalog, "unvalued", "c")

    farm = farm_state(catalog.queue.open_titles(), settings, now=NOW)

    work = find(catalog, "new/b").work
    assert work is not None
    assert farm.fresh_load == pytest.approx(work.full.total.p50_s / FRESH.total_seconds())
    assert (farm.slots, farm.overhead_s) == (1, OVERHEAD_S)


def test_a_quote_names_whom_it_pushes_back_and_who_would_miss_first(catalog: Catalog, settings: Settings) -> None:
    short = {"duration_s": 60, "width": 640, "height": 360, "frame_rate": 25}
    entered(catalog, settings, "late", "tight", tier="ugc", publish_at=after(600).isoformat(), source=short)
    entered(catalog, settings, "easy", "easy", tier="ugc", source=short)
    entered(catalog, settings, "pinned", "first", tier="ugc", source=short)
    start(catalog, "pinned/first")
    catalog.titles.settle("pinned/first", State.FAILED, now=NOW)
    accept(catalog, "waits", "w", tier="ugc", source=short)
    news = {"tier": "premium", "kind": "news", "source": {**short, "duration_s": 600}}
    new = a_batch("news", *(f"n{n}" for n in range(20)), publish_at=after(60).isoformat(), **news)

    quote = quote_batch(new, catalog, settings, now=NOW)

    waiting = [each for each in quote.displaced if each.request_id == "waits/w"]
    assert [each.later_s > 60 for each in waiting] == [True]
    assert not any(each.misses for each in waiting), "it has no deadline to miss"
    assert [title.title_id for title in quote.titles] == [f"n{n}" for n in range(20)]
    tiny = a_batch("tiny", "t", tier="ugc", source={**short, "duration_s": 1})
    assert quote_batch(tiny, catalog, settings, now=NOW).displaced == ()


@pytest.mark.parametrize(
    ("asked", "first", "least"), [(None, None, 2), (True, 2, 2), (False, None, 5)], ids=["not said", "asked", "refused"]
)
def test_before_its_plan_a_title_is_taken_to_play_with_the_core_rungs_that_it_is_asked_to(
    asked: bool | None, first: int | None, least: int
) -> None:
    """Of a 720p source: five rungs, two of them the tier's core."""
    source = {"duration_s": 60, "width": 1280, "height": 720, "frame_rate": 25}
    (request,) = a_batch("spring", source=source, playable_first=asked).titles

    work = work_of_request(request, "vod", PRIOR)

    assert len(work.full.encodes) == 5
    assert (work.playable and len(work.playable.encodes)) == first
    assert len(work.least.encodes) == least
    assert work.least.total.p50_s < (work.playable or work.full).total.p50_s


def test_a_farm_whose_other_tasks_are_slower_says_so(catalog: Catalog, settings: Settings) -> None:
    known = expected_title(
        SourceShape(duration_s=600, width=1280, height=720, fps=25), [load_ladders()["h264"]], load_tiers()[Tier.UGC]
    )
    features = task_features("extras", known).model_dump(mode="json")
    cpu_s = PRIOR.rates.start_s + 3 * task_s("extras", known, PRIOR.rates)
    short = {**features, "source_duration_s": 0.1, "audio_renditions": 0, "audio_channels": 0}
    for number, given in enumerate([*[features] * MEASURED_FROM, {}, short]):
        accept(catalog, f"past{number}")
        start(catalog, f"past{number}/alpha")
        row = TaskRow(task="extras", features=given, cpu_s=cpu_s, wall_s=1, peak_memory_mb=1)
        catalog.history.record(f"past{number}/alpha", [], [row], now=NOW)
        catalog.titles.settle(f"past{number}/alpha", State.FAILED, now=NOW)

    assert task_factors(catalog) == {"extras": pytest.approx(3)}
    slower = farm_predictor(catalog, settings).predict_tasks([known])[0]
    usual = PRIOR.predict_tasks([known])[0]
    assert slower.extras.cpu_s.p50_s > 2.5 * usual.extras.cpu_s.p50_s
    assert slower.finish == usual.finish

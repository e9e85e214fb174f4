"""What befalls the farm by name, a user's own figures, and the command."""

from __future__ import annotations

import itertools
import json
import random
import statistics
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.farm import lower_bound
from include.base.errors import ConfigurationError
from include.cli.app import app
from include.domain.cost.past_jobs import PAST_JOBS
from include.domain.cost.rates import SourceShape
from include.domain.title.request import TitleRequest
from include.domain.title.title import Kind, Tier
from include.services import valuation
from include.simulation.arrivals import bursty_gaps, even_gaps
from include.simulation.figures import busiest, run_order, sum_up
from include.simulation.inputs import read_gaps, read_history, read_trends
from include.simulation.model import Farm, SimTitle
from include.simulation.orders import IN_TIME, ORDERS
from include.simulation.scenarios import SCENARIOS, Load, build, draw, shaped, typical_work
from tests.simulation.titles import RECIPES, farm, run, title

FARM = Farm()
PAST = ",".join(PAST_JOBS)


def built(name: str, titles: int = 300) -> tuple[list[SimTitle], Farm]:
    scenario = SCENARIOS[name]
    return build(scenario, Load(titles=titles, load=scenario.load, seed=4), FARM, RECIPES)


def written(folder: Path, text: str) -> Path:
    path = folder / "given.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_about_titles_that_there_are_and_comes_to_its_end(name: str) -> None:
    titles, on = built(name, 100)

    figures = run_order("callsheet", titles, on, RECIPES, focus=SCENARIOS[name].focus).figures

    assert figures.published + figures.rejected == len(titles)
    assert (figures.focus_h is None) == (SCENARIOS[name].focus is None)
    arrivals = [each.arrival_s for each in titles]
    assert arrivals == sorted(arrivals)


@pytest.mark.parametrize("load", [0.5, 0.9])
def test_drawn_titles_keep_the_farm_as_busy_as_was_wanted(load: float) -> None:
    titles = draw(Load(titles=1500, load=load, seed=2), FARM, RECIPES)

    work_s = sum(each.true_work_s + each.tasks * FARM.start_delay_s for each in titles)
    assert work_s / (FARM.slots * titles[-1].arrival_s) == pytest.approx(load, rel=0.05)


def test_forecasts_are_off_by_what_was_wanted_and_not_to_one_side() -> None:
    titles = draw(Load(titles=400, error=0.2, seed=2), FARM, RECIPES)

    ratios = sorted(each.encodes[-1].forecast.p50_s / each.encodes[-1].true_s for each in titles)

    assert ratios[200] == pytest.approx(1, abs=0.05)
    # One sigma to each side holds 68 %.
    assert ratios[336] / ratios[64] == pytest.approx(2.718281828**0.4, rel=0.12)


@pytest.mark.parametrize("tier", list(Tier))
def test_a_title_is_expected_to_take_what_the_product_says_and_at_least_what_it_says(tier: Tier) -> None:
    source = SourceShape(duration_s=1800, width=1920, height=1080, fps=25)
    expected = typical_work(source, tier, RECIPES)
    drawn = shaped("film", "films", tier, Kind.MOVIE, source, expected, 0.2, random.Random(1), RECIPES)
    title = {"title_id": "film", "mezzanine": "file:///film.mov", "tier": tier, "kind": "movie"}
    known = {"duration_s": 1800, "width": 1920, "height": 1080, "frame_rate": 25}

    product = valuation.work_of_request(TitleRequest.model_validate({**title, "source": known}), "vod", RECIPES.prior)

    assert drawn.expected == product.full
    assert drawn.least == product.least


def test_a_premiere_and_an_event_come_at_once_in_the_middle() -> None:
    for name, group, count in (("premium_release", "premiere", 8), ("live_event", "live event", 7)):
        titles, _ = built(name)
        new = [each for each in titles if each.group == group]
        assert len(new) == count
        assert len({each.arrival_s for each in new}) == 1
        assert all(each.deadline_s is not None and each.tier is Tier.PREMIUM for each in new)


def test_a_viral_title_is_worth_more_than_it_was_at_its_arrival() -> None:
    titles, _ = built("viral_title")
    viral, others = [
        [each.value for each in titles if each.tier is Tier.UGC and (each.boost is None) is plain]
        for plain in (False, True)
    ]

    assert len(viral) >= 3
    assert min(viral) > sum(others) / len(others) + 100


def test_a_surge_brings_a_third_of_the_titles_three_times_as_fast_and_moves_their_deadlines_along() -> None:
    usual = {each.name: each for each in draw(Load(titles=300, load=0.7, seed=4), FARM, RECIPES)}
    titles, _ = built("surge")
    middle = [each for each in titles if each.group == "surge"]

    assert len(middle) == 100
    span_s = middle[-1].arrival_s - middle[0].arrival_s
    assert usual[middle[-1].name].arrival_s - usual[middle[0].name].arrival_s == pytest.approx(3 * span_s)
    for each in titles:
        was = usual[each.name]
        assert (each.deadline_s is None) == (was.deadline_s is None)
        if each.deadline_s is not None and was.deadline_s is not None:
            assert each.deadline_s - each.arrival_s == pytest.approx(was.deadline_s - was.arrival_s)


def test_what_is_harder_corrupt_or_failing_is_so_in_its_scenario_alone() -> None:
    animated = [each for each in built("complex_animation")[0] if each.group == "animation"]
    hard = sum(sum(job.true_s for job in each.encodes) for each in animated)
    expected = sum(sum(job.p50_s for job in each.expected.encodes) for each in animated)
    assert hard > 1.8 * expected
    assert all(each.kind is Kind.SERIES for each in animated)
    assert 20 < sum(each.corrupt for each in built("corrupt_sources")[0]) < 75
    assert built("node_failures")[1].node_failures_per_day == 2.0
    plain, on = built("usual")
    assert not any(each.corrupt for each in plain)
    assert on.node_failures_per_day == 0


def test_gaps_are_taken_from_a_users_arrivals_in_the_order_of_time(tmp_path: Path) -> None:
    assert read_gaps(written(tmp_path, "job,submit,run\n1,5,9\n2,2,9\n3,10,9\n")) == (3.0, 5.0)
    bursts = Load(titles=4, load=0.5, seed=1, gaps=(1.0, 0.0), day_swing=0.0)
    arrivals = [each.arrival_s for each in draw(bursts, FARM, RECIPES)]
    assert len(set(arrivals)) < 4


def test_growth_is_taken_from_the_first_two_days_of_a_users_views(tmp_path: Path) -> None:
    text = "video_id,category_id,views,date\na,1,300,01.10\na,1,100,30.09\nb,1,5,01.10\nc,1,0,01.10\nc,1,9,02.10\n"
    trends = read_trends(written(tmp_path, text))
    titles = draw(Load(titles=60, trends=trends, seed=3), FARM, RECIPES)

    assert trends == ((100, 300),)
    assert all((each.boost is None) == (each.deadline_s is not None) for each in titles)
    grown = next(each for each in titles if each.boost)
    assert grown.boost is not None
    assert grown.boost[1].views_last_hour == pytest.approx(2 * (grown.signals.predicted_views_7d or 0) / 24)


def test_a_farms_past_is_replayed_as_it_was(tmp_path: Path) -> None:
    text = f"{PAST}\n1060,ugc,,,,40,\n1000,premium,movie,5000,800,1000,1e6\n"

    film, upload = read_history(written(tmp_path, text), RECIPES, error=0.2, seed=1)

    assert (film.arrival_s, film.deadline_s, film.kind, film.group) == (0, 4000, Kind.MOVIE, "premium movie")
    assert (upload.arrival_s, upload.deadline_s, upload.kind) == (60, None, None)
    assert (film.true_work_s, upload.true_work_s) == (pytest.approx(1000), pytest.approx(40))
    assert (film.expected.total.p50_s, upload.expected.total.p50_s) == (pytest.approx(800), pytest.approx(40))
    assert 100 < film.least.total.p50_s < 500
    assert 4 < upload.least.total.p50_s < 30
    assert film.value > upload.value
    assert set(run([film, upload], farm(4), "callsheet")) == {"line 2", "line 3"}


@pytest.mark.parametrize(
    ("reader", "text", "message"),
    [
        (read_gaps, "job,run\n1,2\n", "given.csv: line 1: column submit missing (wanted: submit)"),
        (read_gaps, "submit\n1\nx\n", "given.csv: line 3: submit: is no number (got 'x')"),
        (read_gaps, "submit\n1\nnan\n", "line 3: submit: must lie between 0 and 1e+12 (got 'nan')"),
        (read_gaps, "submit\n5\n5\n", "has no two arrivals at different moments"),
        (read_trends, "video_id,views,date\na,1,13-09\n", "line 2: date: is no day.month, e.g. 13.09 (got '13-09')"),
        (read_trends, "video_id,views,date\na,1\n", "line 2: date: the line ends before it"),
        (read_trends, "video_id,views,date\na,1,13.09\n", "no video has views on two days"),
    ],
)
def test_a_bad_line_is_named_with_file_line_and_column(tmp_path: Path, reader: object, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        reader(written(tmp_path, text))  # type: ignore[operator]

    assert message in caught.value.message


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0,gold,,,,1,", "line 2: tier: must be one of premium, standard, ugc (got 'gold')"),
        ("0,ugc,cat,,,1,", "line 2: kind: must be one of movie, series"),
        ("0,ugc,,,,0,", "line 2: actual_s: must be above 0 (got '0')"),
        ("0,ugc,,soon,,1,", "line 2: deadline_s: is no number (got 'soon')"),
        ("-1,ugc,,,,1,", "line 2: submit_s: must lie between 0"),
        ("", "has no jobs"),
    ],
)
def test_a_bad_line_of_the_past_is_named_too(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_history(written(tmp_path, f"{PAST}\n{line}\n"), RECIPES, error=0.2, seed=1)

    assert message in caught.value.message
    with pytest.raises(ConfigurationError, match="cannot be read as CSV"):
        read_history(tmp_path / "absent.csv", RECIPES, error=0.2, seed=1)


def test_a_refused_premium_title_is_a_miss_though_it_was_in_time() -> None:
    tight = title("tight", 0, [10], tier=Tier.PREMIUM, deadline_s=1000.0)
    late = title("late", 2000, [10], tier=Tier.PREMIUM, deadline_s=2001.0)
    fine = title("fine", 4000, [10], tier=Tier.PREMIUM, deadline_s=9000.0)
    outcomes = list(run([tight, late, fine], farm(1), "callsheet").values())
    outcomes[0].verdict = outcomes[1].verdict

    figures = sum_up("callsheet", outcomes, utilisation=1.0, focus=None)

    assert outcomes[1].refused
    assert (figures.premium, figures.premium_missed, figures.premium_late, figures.premium_refused) == (3, 2, 1, 2)
    assert figures.premium_on_time == pytest.approx(1 / 3)


def test_figures_are_sums_and_means_over_the_titles() -> None:
    outcomes = list(run([title(f"{n}", 0, [36], views=10.0 ** (0.7 * n)) for n in range(10)], farm(1)).values())

    figures = sum_up("fifo", outcomes, utilisation=0.5, focus=None)

    by_value = sorted(outcomes, key=lambda each: each.title.value)
    assert figures.mean_h == pytest.approx(sum(range(1, 11)) * 0.01 / 10)
    assert figures.top_decile_h == pytest.approx(by_value[-1].turnaround_s / 3600)
    assert figures.least_decile_p99_h == pytest.approx(by_value[0].turnaround_s / 3600)
    weighted = sum(each.title.value * each.turnaround_s for each in outcomes) / 3600
    assert figures.weighted_completion == pytest.approx(weighted)


@pytest.mark.parametrize(("good", "count", "expected"), [(598, 598, 0.05 ** (1 / 598)), (9, 10, 0.6058), (0, 10, 0.0)])
def test_the_lower_bound_of_a_share_is_exact(good: int, count: int, expected: float) -> None:
    assert lower_bound(good, count) == pytest.approx(expected, abs=1e-4)


def test_the_command_prints_one_object_and_draws_a_chart(tmp_path: Path) -> None:
    chart = tmp_path / "chart.png"

    found = CliRunner().invoke(app, ["simulate", "viral_title", "--titles", "40", "--json", "--chart", str(chart)])

    assert found.exit_code == 0, found.output
    document = json.loads(found.stdout)
    assert (document["scenario"], document["load"], list(document["orders"])) == ("viral_title", 0.95, list(ORDERS))
    assert {each["titles"] for each in document["orders"].values()} == {40}
    assert "callsheet_uncut, 40 titles" in found.stderr
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_a_row_for_every_order(tmp_path: Path) -> None:
    past = written(tmp_path, f"{PAST}\n" + "".join(f"{n * 60},ugc,,,,40,\n" for n in range(12)))

    found = CliRunner().invoke(app, ["simulate", "usual", "--history", str(past)])

    assert found.exit_code == 0, found.output
    assert "12 titles" in " ".join(found.stdout.split())
    lines = found.stdout.splitlines()
    head = next(number for number, line in enumerate(lines) if "FIFO" in line)
    heads = (lines[head - 1] + lines[head]).split()
    assert heads == [
        "strict",
        "Callsheet",
        "oracle",
        "FIFO",
        "tiers",
        "EDF",
        "Callsheet",
        "no",
        "chunks",
        "no",
        "chunks",
    ]
    row = next(line for line in lines if line.strip().startswith("premium in time"))
    assert len(row.split("time")[1].split()) == len(ORDERS)
    assert max(map(len, lines)) <= 80
    assert "…" not in found.stdout, "nothing is cut at 80 columns"


def test_a_scenario_s_own_titles_and_lost_hours_have_rows_where_there_are_any() -> None:
    rows = {
        name: CliRunner().invoke(app, ["simulate", name, "--titles", "60", "--load", "0.9"]).stdout
        for name in ("premium_release", "node_failures")
    }

    assert ("premiere, h" in rows["premium_release"], "lost to failures" in rows["premium_release"]) == (True, False)
    assert ("premiere, h" in rows["node_failures"], "lost to failures" in rows["node_failures"]) == (False, True)


def test_help_names_every_scenario() -> None:
    said = " ".join(CliRunner().invoke(app, ["simulate", "--help"]).stdout.replace("│", " ").split())

    assert all(name in said for name in SCENARIOS)


def test_an_unknown_scenario_is_answered_with_those_there_are() -> None:
    found = CliRunner().invoke(app, ["simulate", "flood"])

    assert isinstance(found.exception, ConfigurationError)
    assert found.exception.message.startswith("no scenario is called 'flood'; there are: usual (")
    assert all(name in found.exception.message for name in SCENARIOS)


def dispersion(gaps: list[float], window: float) -> float:
    """Variance over mean of the arrivals in windows of so many mean times between two."""
    ends = list(itertools.accumulate(gaps))
    counts = Counter(int(end // window) for end in ends)
    every = [counts[number] for number in range(int(ends[-1] // window))]
    return statistics.pvariance(every) / statistics.mean(every)


@pytest.mark.parametrize(("window", "least", "most"), [(12, 4, 8), (120, 22, 55), (1200, 90, 300)])
def test_bursts_are_as_uneven_as_the_week_that_they_were_fitted_to(window: float, least: float, most: float) -> None:
    rng = random.Random(5)
    bursts, even = bursty_gaps(150_000, rng), even_gaps(150_000, rng)

    assert least < dispersion(bursts, window) < most
    assert dispersion(even, window) < 1.6
    assert statistics.mean(bursts) == pytest.approx(1.0, rel=0.25)


def test_titles_come_in_bursts_unless_even_ones_are_asked_for() -> None:
    gaps = {
        kind: [b.arrival_s - a.arrival_s for a, b in itertools.pairwise(draw(load, FARM, RECIPES))]
        for kind, load in (
            ("default", Load(titles=400, seed=3)),
            ("bursts", Load(titles=400, seed=3, arrivals="bursts")),
            ("even", Load(titles=400, seed=3, arrivals="even")),
        )
    }

    assert gaps["default"] == gaps["bursts"] != gaps["even"]


def test_the_busiest_stretch_is_the_one_with_the_most_work() -> None:
    titles = [title("a", 0, [10]), title("b", 50, [40]), title("c", 70, [60]), title("d", 140, [5])]

    assert busiest(titles, farm(2), within_s=100) == pytest.approx((10 + 40 + 60) / 200)
    assert busiest(titles, farm(2), within_s=60) == pytest.approx((40 + 60) / 120)


def test_an_oracle_that_keeps_deadlines_puts_a_promise_before_what_is_worth_more() -> None:
    rush = [title(f"{n}", 0, [100], tier=Tier.PREMIUM, views=1e8) for n in range(20)]
    due = title("due", 0, [100], tier=Tier.UGC, views=1, deadline_s=1000)

    assert (run([*rush, due], farm(1), "oracle")["due"].late_s or 0) > 0
    assert (run([*rush, due], farm(1), IN_TIME)["due"].late_s or 0) <= 0


def test_a_zone_takes_all_its_nodes_at_once_and_a_node_that_failed_twice_waits_for_both() -> None:
    titles = [title(f"{n}", n * 20, [200, 200]) for n in range(200)]
    on = Farm(nodes=6, zones=2, zone_failures_per_day=20, zone_repair_s=900, node_failures_per_day=60, seed=3)

    found = run(titles, on)

    lost = Counter(round(each.lost_s, 3) > 0 for each in found.values())
    assert lost[True] > 10
    assert all(each.ends == 1 for each in found.values())
    calm = run(titles, replace(on, zone_failures_per_day=0.0, node_failures_per_day=0.0))
    assert max(each.finished_s or 0 for each in found.values()) > max(each.finished_s or 0 for each in calm.values())

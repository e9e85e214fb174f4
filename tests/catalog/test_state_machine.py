"""Whatever people and tasks do in whatever order, a title's states follow its life."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from include.adapters.catalog import Catalog
from include.base.errors import NotReleased, StaleRequest
from include.domain.title.title import FINAL_STATES, GOOD_STATES, State
from tests.catalog.samples import NOW, a_batch, packaged, published

REQUESTS = ("one/alpha", "two/alpha", "two/beta")
requests = st.sampled_from(REQUESTS)
WINDOW = 2

ALLOWED = {
    State.WAITING: {State.QUEUED, State.RUNNING, State.PLAYABLE, *FINAL_STATES},
    State.QUEUED: {State.RUNNING, State.PLAYABLE, *FINAL_STATES},
    State.RUNNING: {State.PLAYABLE, *FINAL_STATES},
    State.PLAYABLE: {*FINAL_STATES},
    State.FAILED: {State.RUNNING},
    State.REJECTED: {State.RUNNING},
    State.CANCELLED: set[State](),
    State.PUBLISHED: set[State](),
    State.DEGRADED: set[State](),
}


class Titles(RuleBasedStateMachine):
    template: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        path = Path(self.folder.name) / "catalog.db"
        shutil.copy(self.template, path)
        self.catalog = Catalog(f"sqlite:///{path}")
        self.now = NOW
        self.states = dict.fromkeys(REQUESTS, State.WAITING)
        self.current = {"alpha": 0, "beta": 0}
        self.events = 0

    @initialize()
    def batches(self) -> None:
        for batch in (a_batch("one", "alpha"), a_batch("two", "alpha", "beta")):
            self.catalog.batches.accept(batch, pipeline_version=1, now=self.now)

    @rule(claimant=st.sampled_from("xy"))
    def claim(self, claimant: str) -> None:
        for title in self.catalog.titles.claim(window=WINDOW, now=self.now, claimant=claimant):
            assert self.states[title.request_id] is State.WAITING

    @rule(request=requests, claimant=st.sampled_from("xy"))
    def release(self, request: str, claimant: str) -> None:
        run_id = f"{request.partition('/')[2]}__1"
        self.catalog.titles.mark_released(request, claimant=claimant, run_id=run_id, now=self.now)

    @rule(request=requests, claimant=st.sampled_from("xy"))
    def give_back(self, request: str, claimant: str) -> None:
        self.catalog.titles.unclaim(request, claimant=claimant)

    @rule()
    def time_passes(self) -> None:
        self.now += timedelta(seconds=45)

    @rule(request=requests)
    def begin(self, request: str) -> None:
        batch_id, _, title_id = request.partition("/")
        try:
            title = self.catalog.titles.begin(dag_id=f"batch__{batch_id}", run_id=f"{title_id}__1", now=self.now)
        except NotReleased:
            record = self.catalog.titles.get(request)
            assert record is not None
            # Never released, or cancelled.
            assert record.run_id is None or record.state is State.CANCELLED
        else:
            assert title.state in {State.RUNNING, State.PLAYABLE, *GOOD_STATES}

    @rule(request=requests, whole=st.booleans())
    def publish(self, request: str, whole: bool) -> None:
        if self.states[request] in {State.WAITING, State.QUEUED}:
            return  # only a run publishes
        version = self.catalog.versions.allocate(request, whole=whole, now=self.now)
        before = self.catalog.versions.is_published(request, whole=whole)
        try:
            self.catalog.versions.publish(
                request, result=published(version, whole=whole), package=packaged(whole=whole), now=self.now
            )
        except StaleRequest:
            assert not before
            assert not self.catalog.versions.is_published(request, whole=whole)

    @rule(request=requests, state=st.sampled_from(sorted(FINAL_STATES)))
    def settle(self, request: str, state: State) -> None:
        try:
            settled = self.catalog.titles.settle(request, state, now=self.now)
        except ValueError:
            assert state in GOOD_STATES
        else:
            assert settled is not self.states[request].final

    @invariant()
    def states_follow_a_titles_life(self) -> None:
        for title in self.catalog.titles.find():
            before, self.states[title.request_id] = self.states[title.request_id], title.state
            assert title.state is before or title.state in ALLOWED[before]
            assert (title.settled_at is not None) is title.state.final
            assert title.state not in GOOD_STATES or title.version is not None
            whole = self.catalog.versions.is_published(title.request_id, whole=True)
            assert title.state is not State.PUBLISHED or whole

    @invariant()
    def the_current_version_only_moves_to_newer_requests(self) -> None:
        for title_id, seq in self.current.items():
            self.current[title_id] = self.catalog.versions.published_seq(title_id) or 0
            assert self.current[title_id] >= seq

    @invariant()
    def a_first_version_is_never_current_over_its_requests_whole_set(self) -> None:
        for title_id in self.current:
            current = self.catalog.versions.current(title_id)
            if current is not None and not current.whole:
                assert not self.catalog.versions.is_published(current.request_id, whole=True)

    @invariant()
    def events_are_only_added(self) -> None:
        before, self.events = self.events, len(self.catalog.history.events())
        assert self.events >= before

    @invariant()
    def a_batch_is_retirable_exactly_when_all_is_settled(self) -> None:
        settled = {
            batch_id
            for batch_id in ("one", "two")
            if (own := self.catalog.titles.find(batch_id=batch_id)) and all(title.state.final for title in own)
        }
        assert set(self.catalog.batches.retirable(self.now)) == settled

    def teardown(self) -> None:
        self.folder.cleanup()


def test_a_title_passes_its_states_in_order_whatever_happens(migrated_file: Path) -> None:
    Titles.template = migrated_file
    run_state_machine_as_test(
        Titles,
        settings=settings(
            max_examples=15,
            stateful_step_count=15,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

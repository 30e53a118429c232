"""kill -9 at any instant: the next run goes on, and the bytes are those of a run that nobody interrupted."""

import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.killing import (
    PLAIN,
    TRAININGS,
    Kill,
    Run,
    attempts,
    copy_until,
    differing,
    kept,
    kill_after,
    lasting,
    leftovers,
    options,
    until,
)

pytestmark = pytest.mark.e2e
SEED = 20240607
KILLS = 12
MOST_KILLS = 60


@dataclass
class Campaign:
    """The kills, in the order in which they fell, and the stores of the runs that came to their end nevertheless."""

    kills: list[Kill] = field(default_factory=list)
    stores: list[Path] = field(default_factory=list)

    def resumed(self) -> set[str]:
        """The stages that some artifact was made of in more than one attempt."""
        return {stage for store in self.stores for stage, number in attempts(store).items() if number > 1}

    def enough(self) -> bool:
        """Whether kills have hit a training and the generation after a checkpoint, and there are enough of them."""
        hit = {kill.stage for kill in self.kills if kill.kept}
        return len(self.kills) >= KILLS and "synthesis" in hit and not hit.isdisjoint(TRAININGS)

    def __str__(self) -> str:
        return f"seed {SEED}:\n" + "\n".join(map(str, self.kills))


@pytest.fixture(scope="module")
def campaign(server, reference, tmp_path_factory) -> Campaign:
    """Runs that are killed at random instants of a uniform distribution, until there were enough kills."""
    folder, instants, campaign = tmp_path_factory.mktemp("killed"), random.Random(SEED), Campaign()
    usual, last = 0.13 * sum(reference.seconds.values()), 3 * reference.seconds["report"]
    while not campaign.enough():
        assert len(campaign.kills) < MOST_KILLS, campaign
        store = folder / f"store-{len(campaign.stores)}"
        kill: Kill | None = Kill(0.0, None, 0, 0.0)
        while kill is not None:
            # the report keeps nothing on the way, so it needs a time in one piece
            longest = last if (store / "retrain").exists() else usual
            delay = instants.uniform(0, longest) if len(campaign.kills) < MOST_KILLS else 1000.0
            with server.start(options(store), folder / "log") as run:
                kill = kill_after(run, delay, store)
            campaign.kills += [kill] if kill else []
        campaign.stores.append(store)
    for store in campaign.stores:
        with server.start(options(store), store.with_suffix(".log")) as run:
            assert run.outcome()["computed"] == [], campaign
    return campaign


def test_kills_at_random_instants_leave_the_bytes_as_they_are(campaign, reference):
    assert len(campaign.kills) >= KILLS
    for store in campaign.stores:
        assert differing(store, reference.store) == [], campaign


def test_manifests_after_kills_differ_in_their_attempts_and_times_only(campaign, reference):
    for store in campaign.stores:
        assert lasting(store) == lasting(reference.store), campaign


def test_killed_runs_leave_nothing_in_progress_and_nothing_held(campaign):
    for store in campaign.stores:
        assert leftovers(store) == [], campaign


def test_a_killed_training_and_a_killed_generation_go_on_inside_the_stage(campaign):
    assert "synthesis" in campaign.resumed(), campaign
    assert not campaign.resumed().isdisjoint(TRAININGS), campaign


def test_most_kills_fall_into_a_stage_that_computes(campaign):
    assert sum(kill.stage is not None for kill in campaign.kills) > len(campaign.kills) / 2, campaign


@pytest.fixture(scope="module")
def with_workers(server, reference, tmp_path_factory) -> tuple[Path, list[Kill], list[list[str]]]:
    """Runs with worker processes, killed in trainings: a whole group, and a run alone; and what outlived each kill."""
    folder, kills, outlived = tmp_path_factory.mktemp("workers"), list[Kill](), list[list[str]]()
    store, instants = folder / "store", random.Random(SEED)
    copy_until(reference.store, store, "classifier")
    arguments = options(store, "processes", **{"execution.workers": 2})
    for stage, alone in [("classifier", False), ("denoiser", True)]:
        with server.start(arguments, folder / "log") as run:
            assert until(lambda stage=stage: kept(store, stage)), run.said()
            kill = kill_after(run, instants.uniform(0, 0.3), store, alone=alone)
            assert kill is not None
            kills.append(kill)
            outlived.append(run.gone())
    with Run([*PLAIN, *arguments], folder / "log") as run:
        assert run.ended() == 0, run.said()
        outlived.append(run.gone())
    return store, kills, outlived


def test_workers_of_a_killed_run_end_with_it(with_workers):
    """Killed with it, as its whole group; or alone: then they notice that nobody can talk to them any more."""
    assert with_workers[2] == [[]] * 3


def test_a_run_with_workers_goes_on_after_kills_to_the_same_bytes(with_workers, reference):
    store, kills, _ = with_workers
    assert differing(store, reference.store) == [], kills
    assert lasting(store) == lasting(reference.store)
    assert leftovers(store) == []
    resumed = {kill.stage for kill in kills if kill.kept}
    assert {stage for stage, number in attempts(store).items() if number > 1} >= resumed, kills
    assert len(resumed) == 2, kills

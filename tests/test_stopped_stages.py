"""A stage that was stopped, on the real digits: who goes on publishes the bytes of one in one piece, and says so."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import pytest

from fedsyn import graph, interruption, pipeline
from fedsyn.artifacts import Manifest, Store
from fedsyn.artifacts.files import sha256
from fedsyn.config import Execution, Experiment
from fedsyn.interruption import Interrupted
from fedsyn.pipeline import run_stage
from tests.processes import python, said

EXPERIMENT = Experiment.model_validate(
    {"partition": {"num_clients": 5, "labeled_fraction": 0.2}, "classifier": {"rounds": 4, "width": 8}}
)


def execution(store: Path, **changes: object) -> Execution:
    fields = {"store": str(store), "device": "cpu", "threads": 1, "engine": "sequential", "checkpoint_seconds": None}
    return Execution(**fields | changes)


def upstream(store: Path) -> dict[str, Manifest]:
    """What the classifier reads."""
    dataset = run_stage(graph.DATASET, EXPERIMENT, execution(store), {}).manifest
    partition = run_stage(graph.PARTITION, EXPERIMENT, execution(store), {"dataset": dataset}).manifest
    return {"dataset": dataset, "partition": partition}


def classifier(store: Path, inputs: dict[str, Manifest], **changes: object) -> Manifest:
    return run_stage(graph.CLASSIFIER, EXPERIMENT, execution(store, **changes), inputs).manifest


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Manifest:
    """The classifier's manifest, trained in one piece."""
    store = tmp_path_factory.mktemp("whole") / "store"
    return classifier(store, upstream(store))


@pytest.fixture
def store(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def asked(monkeypatch):
    """What signals have asked for; `asked.append` is one."""
    asked: list[str] = []
    monkeypatch.setattr(interruption, "_asked", asked)
    return asked


class Listener(logging.Handler):
    """Calls `hear` with each message of the run."""

    def __init__(self, hear) -> None:
        super().__init__()
        self.hear = hear
        self.logger = logging.getLogger("fedsyn")

    def emit(self, record: logging.LogRecord) -> None:
        self.hear(record.getMessage())

    def __enter__(self) -> None:
        self.level_before = self.logger.level
        self.logger.setLevel(logging.INFO)
        self.logger.addHandler(self)

    def __exit__(self, *_: object) -> None:
        self.logger.removeHandler(self)
        self.logger.setLevel(self.level_before)


def stop(store: Path, inputs: dict[str, Manifest], asked: list[str], after: int, **changes: object) -> None:
    """Train the classifier, and be asked to stop when round `after` is done."""
    words = f"rounds {after} of 4"
    with Listener(lambda message: asked.append("SIGTERM") if words in message else None), pytest.raises(Interrupted):
        classifier(store, inputs, **changes)
    asked.clear()


def test_a_stage_that_was_stopped_twice_publishes_the_same_bytes_and_names_its_attempts(store, asked, whole):
    inputs = upstream(store)
    stop(store, inputs, asked, after=1)
    assert Store(store).find("classifier", whole.key) is None
    stop(store, inputs, asked, after=3)
    manifest = classifier(store, inputs)
    assert (manifest.key, manifest.digest, manifest.metrics) == (whole.key, whole.digest, whole.metrics)
    assert len(manifest.attempts) == 3
    assert len(whole.attempts) == 1
    starts = [attempt.started for attempt in manifest.attempts]
    assert starts == sorted(starts)
    assert manifest.seconds >= (manifest.finished - starts[-1]).total_seconds()
    assert list((store / "in_progress").iterdir()) == []


def test_gone_on_with_by_another_engine_it_is_the_same_bytes_and_a_warning(store, asked, whole, caplog):
    inputs = upstream(store)
    stop(store, inputs, asked, after=2)
    manifest = classifier(store, inputs, engine="processes", workers=2)
    assert manifest.digest == whole.digest
    assert [attempt.engine for attempt in manifest.attempts] == ["sequential", "processes"]
    assert "made under other circumstances (engine sequential -> processes)" in caplog.text


def test_what_was_kept_for_other_bytes_of_an_input_is_not_gone_on_from(store, asked, caplog):
    inputs = upstream(store)
    stop(store, inputs, asked, after=2)
    partition = inputs["partition"]
    path = store / "partition" / partition.key / "summary.json"
    path.write_text(path.read_text() + "\n")  # as another version of a library might write it
    files = [
        file.model_copy(update={"size": file.size + 1, "sha256": sha256(path)}) if file.name == path.name else file
        for file in partition.files
    ]
    other = partition.model_copy(update={"files": tuple(files)})
    (path.parent / "manifest.json").write_text(other.sealed())
    manifest = classifier(store, inputs | {"partition": other})
    assert len(manifest.attempts) == 1
    assert manifest.inputs["partition"].digest == other.digest
    assert "going on after round" not in caplog.text


def test_asked_before_it_has_begun_a_stage_does_nothing(store, asked):
    inputs = upstream(store)
    before = sorted(store.rglob("*"))
    asked.append("SIGINT")
    with pytest.raises(Interrupted):
        classifier(store, inputs)
    assert sorted(store.rglob("*")) == before
    assert upstream(store) == inputs  # what is there is served


HOLDER = """
import sys
from fedsyn.artifacts import Store
store, stage, key = Store(sys.argv[1]), sys.argv[2], sys.argv[3]
with store.work(stage, key):
    print("held", flush=True)
    input()
"""


def test_a_stage_held_by_another_process_waits_and_computes_when_that_one_gives_up(store, whole):
    inputs, waits = upstream(store), threading.Event()
    listener = Listener(lambda message: waits.set() if "waiting" in message else None)
    with python(HOLDER, store, "classifier", whole.key) as child, ThreadPoolExecutor(1) as pool, listener:
        assert said(child) == "held"
        waiting = pool.submit(classifier, store, inputs)
        assert waits.wait(60)
        assert not waiting.done()
        child.kill()
        manifest = waiting.result(120)
    assert manifest.digest == whole.digest
    assert len(manifest.attempts) == 1


def test_a_hit_of_another_minor_version_of_a_library_is_no_news(store, caplog):
    partition = upstream(store)["partition"]
    (attempt,) = partition.attempts
    other = attempt.model_copy(update={"libraries": attempt.libraries | {"torch": f"{version('torch')[0]}.999.1"}})
    changed = partition.model_copy(update={"attempts": (other,)})
    (store / "partition" / partition.key / "manifest.json").write_text(changed.sealed())
    assert upstream(store)["partition"] == changed
    assert "was made by" not in caplog.text


@pytest.mark.parametrize(
    ("made_by", "now", "told"),
    [
        ("1.13.0", "2.0.0", True),
        ("2.0.0", "2.9.1", False),
        ("2.0.0+cpu", "2.0.0+cu124", False),
        ("0.35.1", "0.36.0", True),
        ("0.35.1", "0.35.2", False),
        ("0.9", "1.0", True),
    ],
)
def test_a_version_breaks_where_its_first_number_that_counts_does(made_by, now, told):
    assert (pipeline._major(made_by) != pipeline._major(now)) == told

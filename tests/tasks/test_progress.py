"""A stage in progress, as Prefect keeps it: one bar and one picture of curves for each stage, never an error."""

import base64
import io
import logging
import re

import pytest
from PIL import Image
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings

from fedsyn.artifacts import Checkpoints
from fedsyn.context import Context, Progress
from fedsyn.federated.state import TrainingState
from tasks.progress import ShownProgress, in_words

KEY = "0123456789abcdef01234567"

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("prefect_server")]


@pytest.fixture
def context(tmp_path) -> Context:
    return Context("pseudo_labels", None, Checkpoints(tmp_path), key=KEY)


def shown(work, stage: str = "pseudo_labels") -> list:
    """All artifacts of a run, one task of which does `work(progress)` while the progress of `stage` is shown."""

    @task
    def some_task() -> None:
        with ShownProgress(stage) as progress:
            work(progress)

    @flow
    def around() -> str:
        some_task()
        return str(flow_run.id)

    chosen = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[around()]))
    with get_client(sync_client=True) as client:
        return client.read_artifacts(artifact_filter=chosen)


def train(context: Context, rounds: int, total: int, *, images: int = 0, start: int = 0) -> None:
    """Tell of `rounds` rounds of a training after `start` earlier ones, each with so many images."""
    state = TrainingState(None, None, rounds_done=start)
    state.history = [{"round": number + 1, "clients": 4, "train_loss": 1.0} for number in range(start)]
    for number in range(start, start + rounds):
        state.rounds_done, state.images_seen = number + 1, state.images_seen + images
        state.history.append({"round": number + 1, "clients": 4, "train_loss": 0.5, "test_accuracy": 0.1 * number})
        context.after_round(state, total)


def test_a_training_is_a_bar_and_a_picture_of_its_curves_so_far(context):
    bar, curves = both(shown(lambda _: train(context, 3, 4, images=100)))
    assert (bar.key, bar.type, bar.data) == ("pseudo-labels-progress", "progress", 75.0)
    assert (curves.key, curves.type) == ("pseudo-labels-curves", "markdown")
    words = r"rounds 3 of 4, train loss 0\.5, test accuracy 0\.2, [\d,]+ images/s, .+ left"
    assert re.fullmatch(rf"{words} \(store: pseudo_labels/{KEY}\)", bar.description)
    assert re.search(rf"{words} \(store: pseudo_labels/{KEY}\)$", curves.data)
    assert curves.description == f"Curves so far (store: pseudo_labels/{KEY})"

    (picture,) = re.findall(r"data:image/png;base64,([\w+/=]+)", curves.data)
    assert len(curves.data) < 300_000
    assert Image.open(io.BytesIO(base64.b64decode(picture))).width == 900


def test_an_artifact_is_changed_and_not_made_again_and_ends_with_the_last_record(context):
    def work(progress: ShownProgress) -> None:
        progress.bar.seconds = progress.curves.seconds = 0.0
        for number in range(1, 4):
            progress.bar.next = progress.curves.next = 0.0
            train(context, 1, 4, start=number)
            context.progress(number, 3, "batches")  # without curves
        train(context, 1, 4, start=3)

    bar, curves = both(shown(work))
    assert bar.data == 100.0
    assert bar.description.startswith("rounds 4 of 4")
    assert curves.data.count("data:image/png;base64,") == 1
    assert "rounds 4 of 4" in curves.data


def test_a_first_record_alone_has_no_curves_and_no_rate(context):
    (bar,) = shown(lambda _: train(context, 1, 4, images=100))
    assert bar.data == 25.0
    assert bar.description == f"rounds 1 of 4, train loss 0.5, test accuracy 0 (store: pseudo_labels/{KEY})"


def test_records_of_another_stage_and_lines_without_progress_are_not_shown(context):
    def work(_: ShownProgress) -> None:
        train(context, 3, 4)
        logging.getLogger("fedsyn.artifacts").warning("a line")

    assert shown(work, stage="classifier") == []


@pytest.mark.filterwarnings("ignore:Artifact creation outside of a flow")
def test_a_server_that_cannot_be_reached_costs_one_warning(context, caplog):
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}), ShownProgress("pseudo_labels"):
        train(context, 3, 4)
    (warning,) = warnings(caplog)
    assert re.match("pseudo_labels: its progress is no longer shown in Prefect: .*refused", warning)


def test_a_server_that_refuses_costs_one_warning(tmp_path, caplog):
    context = Context("Ω", None, Checkpoints(tmp_path), key=KEY)  # no key of Prefect's
    assert shown(lambda _: train(context, 3, 4), stage="Ω") == []
    (warning,) = warnings(caplog)
    assert warning.startswith("Ω: its progress is no longer shown in Prefect: ")


def test_curves_that_cannot_be_drawn_end_the_bar_too_with_one_warning(context, caplog, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("no font")

    monkeypatch.setattr("fedsyn.report.live.course_so_far", fail)
    (bar,) = shown(lambda _: train(context, 4, 4))
    assert bar.data == 25.0
    assert warnings(caplog) == ["pseudo_labels: its progress is no longer shown in Prefect: no font"]


def both(artifacts: list) -> list:
    """The bar and the curves, of which there is one each."""
    found = {artifact.key: artifact for artifact in artifacts}
    assert len(found) == len(artifacts) == 2
    return [found["pseudo-labels-progress"], found["pseudo-labels-curves"]]


def warnings(caplog) -> list[str]:
    """What fedsyn has warned of."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("fedsyn") and record.levelname == "WARNING"
    ]


# --- in words ---


def told(done: int, images: int) -> Progress:
    return Progress("denoiser", done, 20, "rounds", {"train_loss": 0.25}, images, key=KEY)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (told(10, 400), "rounds 10 of 20, train loss 0.25"),
        (told(12, 1000), "rounds 12 of 20, train loss 0.25, 150 images/s, 16 s left"),
        (told(20, 400), "rounds 20 of 20, train loss 0.25"),
        (Progress("denoiser", 1210, 2410, "images", images=1200, key=KEY),
         "images 1,210 of 2,410, 200 images/s, 4.0 s left"),
    ],
)  # fmt: skip
def test_rate_and_time_left_are_of_what_was_seen_in_this_attempt(event, words):
    """Since round 10, four seconds ago: two rounds and 600 images more are 150 images/s, and eight rounds take 16 s."""
    assert in_words(event, told(10, 400), 4.0) == f"{words} (store: denoiser/{KEY})"

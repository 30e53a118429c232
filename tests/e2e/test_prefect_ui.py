"""The front door: `fedsyn up` with two workers, a browser, a form; then failures, a killed worker, a batch of runs.

The tests share one site and build on each other's artifacts, in the order in which they stand here.
"""

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedsyn import pipeline
from fedsyn.artifacts import Store
from fedsyn.config import Execution
from fedsyn.graph import STAGES
from fedsyn.presets import load_experiment
from tests.e2e.killing import everything, kept
from tests.e2e.site import Site, browser_path, parent, site, until
from tests.e2e.tiny import STAGE_NAMES

pytestmark = [pytest.mark.e2e, pytest.mark.ui, pytest.mark.timeout(900)]

FORM = {
    "Classifier": {"Rounds": 2, "Local Steps": 2},
    "Autoencoder": {"Rounds": 3, "Local Steps": 2},
    "Denoiser": {"Rounds": 2, "Local Steps": 2},
    "Synthesis": {"Per Class": 2, "Steps": 3},
}
"""What is filled in; all other fields keep the preset's values."""

OVERRIDES = {
    f"{group}.{field}".lower().replace(" ", "_"): value
    for group, fields in FORM.items()
    for field, value in fields.items()
}
SEQUENTIAL = {"engine": "sequential", "threads": 1}
AFTER_SYNTHESIS = ("synthesis", "retrain", "quality", "report")
"""The stages that another guidance scale runs again."""

FIGURES = ("accuracy-by-round", "partition", "pseudo-labels", "confusion", "real-beside-synthetic")


@pytest.fixture(scope="module")
def here(tmp_path_factory, prefect_home) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    prefect_home(folder / "prefect")
    with site(folder, workers=2) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    if browser_path() is None:
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path(), args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    if browser is None:
        pytest.skip("needs a Chromium (Debian: apt-get install chromium)")
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(30_000)
    yield page
    page.close()  # a page that shows a run draws all the time


def labelled(scope, label: str):
    """The field or group of a form that has this label."""
    return scope.locator(f'div.group:has(> div label:text-is("{label} (Optional)"))').first


def looked_at(page, name: str) -> None:
    """Keep a picture of the page where FEDSYN_SCREENSHOTS says."""
    if folder := os.environ.get("FEDSYN_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


def fill_and_submit(here: Site, page) -> str:
    """Fill the form of the deployment `digits` as a person does; the id of the run that comes of it."""
    before = {run["id"] for run in here.ask("POST", "flow_runs/filter")}
    page.goto(f"{here.url}/v2/deployments/deployment/{here.deployment('ddsa-fssl/digits')}/run")
    overrides = labelled(page, "overrides")
    for group, fields in FORM.items():
        for field, value in fields.items():
            labelled(labelled(overrides, group), field).locator("input").first.fill(str(value))
    execution = labelled(page, "execution")
    labelled(execution, "Threads").locator("input").first.fill("1")
    labelled(execution, "Engine").get_by_role("tab", name="other").click()
    labelled(execution, "Engine").locator("button[aria-haspopup=listbox]").click()
    page.get_by_role("option", name="sequential").click()
    labelled(labelled(overrides, "Classifier"), "Rounds").scroll_into_view_if_needed()
    looked_at(page, "prefect-form")

    def new() -> list[str]:
        return [run["id"] for run in here.ask("POST", "flow_runs/filter") if run["id"] not in before]

    submit = page.get_by_role("button", name="Submit")
    for _ in range(6):  # SQLite has a busy server ask for another try
        if submit.is_visible():
            submit.click()
        if until(new, 15):
            break
    return new()[0]


@pytest.fixture(scope="module")
def first(here: Site, browser) -> str:
    if browser is None:
        flow_run = here.submit("ddsa-fssl/digits", overrides=OVERRIDES, execution=SEQUENTIAL)
    else:
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        flow_run = fill_and_submit(here, page)
        page.close()
    here.wait(flow_run)
    return flow_run


def test_a_run_that_was_asked_for_in_the_form_comes_to_its_end(here, first):
    run = here.run(first)
    assert run["state_name"] == "Completed", run["state"]["message"]
    assert run["name"].startswith("digits a=0.1 l=4% seed=0 classifier.rounds=2")
    assert here.stages(first) == dict.fromkeys(STAGE_NAMES, "Completed")
    experiment = load_experiment("digits", OVERRIDES)
    assert {name: here.store.manifest(name, key) is not None for name, key in pipeline.keys(experiment).items()} == (
        dict.fromkeys(STAGE_NAMES, True)
    )


def test_its_artifacts_are_on_its_page(here, first, page):
    artifacts = here.artifacts(first)
    report = f"report/{next(here.store.manifests('report')).key}"
    for key in ("result", "report", *FIGURES):
        assert report in artifacts[key]["description"] + artifacts[key]["data"]
    assert artifacts["denoiser-progress"]["data"] == 100
    assert "rounds 2 of 2" in artifacts["denoiser-progress"]["description"]
    page.goto(f"{here.url}/v2/runs/flow-run/{first}")
    page.get_by_text("Completed").first.wait_for()
    page.wait_for_timeout(3000)  # the graph draws itself
    looked_at(page, "prefect-run")
    page.get_by_role("tab", name="Artifacts").click()
    for key in ("result", *FIGURES, "classifier-curves"):
        page.get_by_text(key, exact=True).first.wait_for()
    looked_at(page, "prefect-artifacts")
    for key in (*FIGURES, "classifier-curves"):
        page.goto(f"{here.url}/v2/artifacts/artifact/{artifacts[key]['id']}")
        picture = page.locator("img[src^='data:image/png']").first
        picture.wait_for()
        assert until(lambda picture=picture: picture.evaluate("image => image.naturalWidth") > 400, 60)
        looked_at(page, f"prefect-{key}")
    page.goto(f"{here.url}/v2/artifacts/artifact/{artifacts['result']['id']}")
    page.get_by_text("retrained accuracy").first.wait_for()


def test_the_report_can_be_read_with_a_browser(here, first, page):
    link = here.artifacts(first)["report"]["data"]
    assert here.reports_url in link
    page.goto(link[link.index("http") : link.rindex(")")])
    assert page.locator("img").count() > 8


def test_what_names_another_place_or_runs_a_command_is_refused(here):
    for parameters in ({"execution": {"store": "/tmp"}}, {"execution": {"cache": "/tmp"}}, {"overrides": {"no": 1}}):
        with pytest.raises(AssertionError, match="Validation failed"):
            here.submit("ddsa-fssl/digits", **parameters)
    path = f"deployments/{here.deployment('ddsa-fssl/digits')}/create_flow_run"
    for variables in ({"command": "touch /tmp/here"}, {"env": {"LD_PRELOAD": "x"}}, {"working_dir": "/"}):
        with pytest.raises(AssertionError, match="Additional properties are not allowed"):
            here.ask("POST", path, job_variables=variables, state={"type": "SCHEDULED"})
    elsewhere = here.submit("ddsa-fssl/digits", overrides={"dataset": {"name": "mnist", "root": "/etc"}})
    state = here.wait(elsewhere)["state"]
    assert state["name"] == "Failed"
    assert "dataset.root must lie in a data folder of the machine" in state["message"]


def test_a_batch_over_two_workers_computes_what_its_arms_share_once(here, first):
    """Both workers begin at the same time, with a seed of which there is nothing yet."""
    batch = here.submit(
        "ablation/digits-guidance",
        study="two-scales",
        seeds=[3],
        grid={"synthesis.guidance_scale": [1.5, 3.0]},
        where="gpu-pool",
        overrides=OVERRIDES,
        execution=SEQUENTIAL,
    )
    assert here.wait(batch)["state_name"] == "Completed", here.run(batch)["state"]["message"]
    ours = set(STAGE_NAMES) - {"dataset", "judge"}  # which serve all seeds
    seed_3 = [manifest for manifest in here.store.manifests() if manifest.seed == 3 and manifest.stage in ours]
    assert all(len(manifest.attempts) == 1 for manifest in seed_3)
    made = Counter(manifest.stage for manifest in seed_3)
    assert made == dict.fromkeys(ours, 1) | dict.fromkeys(AFTER_SYNTHESIS, 2)
    table = here.artifacts(batch)["ablation-two-scales"]["data"]
    assert "guidance_scale=1.5" in table
    assert "data:image/png;base64," in table
    assert len(table) < 300_000
    (gathered,) = here.store.manifests("ablation")
    assert len(gathered.inputs) == 2


@pytest.fixture(scope="module")
def killed(here: Site, first: str) -> tuple[str, dict[str, object]]:
    """A run, and its overrides, whose worker was killed with all that it had started, in the middle of a training.

    What follows is done by the other worker, while the server waits for heartbeats of this one.
    """
    changed = OVERRIDES | {"autoencoder.rounds": 80}
    key = pipeline.keys(load_experiment("digits", changed))["autoencoder"]
    often = {"checkpoint_rounds": 1, "checkpoint_seconds": 0}
    flow_run = here.submit("ddsa-fssl/digits", overrides=changed, execution=SEQUENTIAL | often)
    assert until(lambda: list(here.store.place("autoencoder", key).glob("checkpoints/*.safetensors")), 300)
    children = here.children(flow_run)
    (child,) = [pid for pid in children if parent(pid) not in children]
    for pid in (parent(child), *children):
        os.kill(pid, signal.SIGKILL)
    return flow_run, changed


def test_a_stage_that_failed_goes_on_with_a_click_on_retry(here, killed, page):
    changed = {"synthesis.guidance_scale": 2.0}
    key = pipeline.keys(load_experiment("digits", OVERRIDES | changed))["synthesis"]
    obstacle = here.store.root / "in_progress" / f"synthesis-{key}"
    obstacle.write_text("a file where the stage needs a folder")
    flow_run = here.submit("ddsa-fssl/digits", overrides=OVERRIDES | changed, execution=SEQUENTIAL)
    state = here.wait(flow_run)["state"]
    assert state["name"] == "Failed"
    assert f"synthesis-{key}" in state["message"]
    obstacle.unlink()

    page.goto(f"{here.url}/v2/runs/flow-run/{flow_run}")
    page.get_by_role("button", name="Open menu").first.click()
    page.get_by_role("menuitem", name="Retry").click()
    looked_at(page, "prefect-retry")
    page.get_by_role("alertdialog").get_by_role("button", name="Retry").click()
    assert until(lambda: here.run(flow_run)["run_count"] == 2, 180)
    assert here.wait(flow_run)["state_name"] == "Completed"
    assert here.stages(flow_run, attempt=2) == {
        name: "Completed" if name in AFTER_SYNTHESIS else "Cached" for name in STAGE_NAMES
    }


def test_cancelling_keeps_what_was_done_and_leaves_no_process(here, killed):
    changed = {"denoiser.rounds": 4000}
    flow_run = here.submit(
        "ddsa-fssl/digits", overrides=OVERRIDES | changed, execution=SEQUENTIAL | {"checkpoint_seconds": 3600}
    )
    assert until(lambda: here.stages(flow_run).get("denoiser") == "Running", 300)
    assert until(lambda: "denoiser-progress" in here.artifacts(flow_run), 180)
    here.ask("POST", f"flow_runs/{flow_run}/set_state", state={"type": "CANCELLING", "name": "Cancelling"})
    assert here.wait(flow_run, "Cancelled", seconds=180)["state_name"] == "Cancelled"
    assert until(lambda: not here.children(flow_run), 60)
    assert kept(here.store.root, "denoiser") > 0  # by time none was due within the hour


def test_a_run_whose_worker_was_killed_ends_on_the_other_with_the_same_bytes(here, killed, tmp_path):
    flow_run, changed = killed
    experiment = load_experiment("digits", changed)
    keys = pipeline.keys(experiment)
    assert here.store.manifest("autoencoder", keys["autoencoder"]) is None
    alone = Store(tmp_path / "alone")
    shutil.copytree(here.store.root / "dataset", alone.root / "dataset")
    pipeline.run(experiment, Execution(store=str(alone.root), device="cpu", threads=1, engine="sequential"))

    assert here.wait(flow_run, "Crashed", seconds=500)["state_name"] == "Crashed"
    assert "No heartbeat" in here.run(flow_run)["state"]["message"]
    here.retry(flow_run)
    assert here.wait(flow_run, "Completed")["state_name"] == "Completed"
    states = here.stages(flow_run, attempt=2)
    assert {states[name] for name in ("dataset", "partition", "classifier", "selection")} == {"Cached"}
    assert len(here.store.manifest("autoencoder", keys["autoencoder"]).attempts) == 2
    ours, theirs = everything(here.store.root), everything(alone.root)
    assert [name for name in theirs if ours.get(name) != theirs[name]] == []
    assert {name.split("/")[0] for name in theirs} == {stage.name for stage in STAGES}


def test_ctrl_c_stops_everything_and_a_run_at_work_keeps_what_it_has(here, killed):
    changed = OVERRIDES | {"denoiser.rounds": 4001}
    often = SEQUENTIAL | {"checkpoint_seconds": 3600}
    flow_run = here.submit("ddsa-fssl/digits", overrides=changed, execution=often)
    assert until(lambda: "denoiser-progress" in here.artifacts(flow_run), 300)
    key = pipeline.keys(load_experiment("digits", changed))["denoiser"]
    assert here.stop() == []
    assert here.process.returncode == 0
    assert list(here.store.place("denoiser", key).glob("checkpoints/*.safetensors"))

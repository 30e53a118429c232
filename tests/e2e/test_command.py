"""`fedsyn run` as a user types it: a real process, a real Prefect server of its own, a fresh Prefect home."""

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from fedsyn import pipeline
from fedsyn.artifacts import Store
from fedsyn.config import Execution
from tests.e2e.killing import until
from tests.e2e.tiny import EXPERIMENT, OVERRIDES, STAGE_NAMES
from tests.processes import with_environment

pytestmark = pytest.mark.e2e
COMMAND = Path(sys.executable).with_name("fedsyn")


def fedsyn(home: Path, store: Path, **overrides: object) -> subprocess.CompletedProcess[str]:
    settings = [f"--set={field}={value}" for field, value in (OVERRIDES | overrides).items()]
    return subprocess.run(
        [COMMAND, "run", "--store", store, "--device", "cpu", "--threads", "1", *settings],
        env=os.environ | {"PREFECT_HOME": str(home), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def states(output: str) -> dict[str, str]:
    return dict(re.findall(r"^ *(\w+) +[0-9a-f]{24} +(Cached|Completed)", output, re.MULTILINE))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="module")
def first_run(home, tmp_path_factory):
    store = tmp_path_factory.mktemp("command") / "store"
    return store, fedsyn(home, store)


def test_the_first_run_computes_every_stage_and_shows_the_result(first_run, home):
    _, process = first_run
    assert process.returncode == 0, process.stderr
    assert until(lambda: not with_environment(f"PREFECT_HOME={home}"), 10), "its server has outlived it"
    assert states(process.stdout) == dict.fromkeys(STAGE_NAMES, "Completed")
    for quantity in ("labels-only accuracy", "retrained accuracy", "gain", "precision, selected", "synthetic images"):
        assert quantity in process.stdout
    assert re.search(r"classifier: rounds 2 of 2, train loss [\d.]+, test accuracy [\d.]+", process.stdout)
    page = re.search(r"^report: (.+\.html)$", process.stdout, re.MULTILINE)
    assert page is not None
    assert Path(page[1]).read_text(encoding="utf-8").startswith("<!doctype html>")


def test_prefect_keeps_the_result_table_and_the_figures(first_run, home):
    store, _ = first_run
    with contextlib.closing(sqlite3.connect(home / "prefect.db")) as database:
        artifacts = dict(database.execute("select key, data from artifact").fetchall())
    pictures = {"accuracy-by-round", "partition", "pseudo-labels", "confusion", "real-beside-synthetic"}
    curves = {f"{stage}-curves" for stage in ("classifier", "autoencoder", "denoiser", "retrain")}
    assert pictures | curves | {"result", "report", "classifier-progress", "synthesis-progress"} <= artifacts.keys()
    assert "retrained accuracy" in artifacts["result"]
    for name in pictures | curves:
        assert artifacts[name].count("data:image/png;base64,") == 1
        assert len(artifacts[name]) < 300_000
    key = next(Store(store).manifests("report")).key
    assert f"report/{key}" in artifacts["report"]


def test_the_flow_chains_the_stages_as_the_graph_declares_them(first_run):
    """The plain loop over the graph finds every artifact of the flow, so both computed the same keys."""
    store, _ = first_run
    results = pipeline.run(EXPERIMENT, Execution(store=str(store), device="cpu", threads=1))
    assert all(result.cached for result in results.values())


def test_a_second_run_is_cached_but_for_what_was_damaged_and_what_a_changed_field_reaches(first_run, home):
    store, _ = first_run
    weights = next((store / "denoiser").glob("*/unet/*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    process = fedsyn(home, store, **{"synthesis.guidance_scale": 1.0})
    shown = states(process.stdout)
    assert [name for name in shown if shown[name] == "Completed"] == [
        "denoiser",
        "synthesis",
        "retrain",
        "quality",
        "report",
    ]
    assert len(shown) == len(STAGE_NAMES)
    assert "other bytes than its manifest says" in process.stdout + process.stderr
    assert len(list((store / "quarantine").iterdir())) == 1

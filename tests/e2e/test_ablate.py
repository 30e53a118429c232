"""`fedsyn ablate` as a user types it: a study in a file, one arm of which cannot work."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from fedsyn.artifacts import Store
from fedsyn.graph import STAGES
from tests.e2e.tiny import OVERRIDES

pytestmark = pytest.mark.e2e
COMMAND = Path(sys.executable).with_name("fedsyn")
ARMS = {"as it is": {}, "guided": {"synthesis.guidance_scale": 3.0}, "broken": {"classifier.learning_rate": 1e30}}


@pytest.fixture(scope="module")
def outcome(tiny, prefect_home, tmp_path_factory):
    """The store, which held the first arm before, and how the command has ended."""
    folder = tmp_path_factory.mktemp("ablate")
    shutil.copytree(tiny, folder / "store")
    study = {"name": "tiny", "overrides": OVERRIDES, "arms": ARMS, "seeds": [0]}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    process = subprocess.run(
        [COMMAND, "ablate", folder / "tiny.yaml", "--store", folder / "store", "--device", "cpu", "--threads", "1"],
        env=os.environ | {"PREFECT_HOME": str(prefect_home(folder / "prefect")), "COLUMNS": "140"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    return Store(folder / "store"), process


def test_a_failed_arm_is_named_and_the_others_are_compared(outcome):
    _, process = outcome
    assert process.returncode == 1, process.stdout + process.stderr
    assert "1 of 3 runs failed" in process.stderr
    assert re.search(r"broken, seed 0: classifier: the (loss|update) of client \d+", process.stderr)
    number = r"[+-]?\d+\.\d\d"
    assert re.search(rf"as it is +1 +{number} +{number} +{number} +–", process.stdout)
    assert re.search(rf"guided +1 +{number} +{number} +{number} +{number}", process.stdout)
    assert "guided, seed 0 (2 of 3)" in process.stdout


def test_what_arms_share_is_computed_once(outcome):
    store, _ = outcome
    made = {stage.name: len(list(store.names(stage.name))) for stage in STAGES}
    repeated = ("synthesis", "retrain", "quality", "report")
    assert made == {stage.name: 2 if stage.name in repeated else 1 for stage in STAGES}


def test_the_tidy_table_holds_what_the_reports_measured(outcome):
    store, _ = outcome
    (gathered,) = store.manifests("ablation")
    rows = pd.read_parquet(store.folder("ablation", gathered.key) / "runs.parquet")
    assert set(zip(rows["arm"], rows["seed"], strict=True)) == {("as it is", 0), ("guided", 0)}
    for report in store.manifests("report"):
        measured = rows[rows["report"] == report.key].set_index("metric")["value"]
        assert dict(measured) == pytest.approx(report.metrics, nan_ok=True)

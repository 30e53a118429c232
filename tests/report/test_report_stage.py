import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from fedsyn.artifacts import Artifact, Checkpoints, Folder
from fedsyn.config import Experiment
from fedsyn.context import Context
from fedsyn.graph import REPORT
from fedsyn.report.evidence import Evidence, gather
from fedsyn.report.notes import notes, samples_for_bound
from fedsyn.report.page import setting_rows
from fedsyn.report.plates import plates
from fedsyn.report.tables import headline
from fedsyn.report.theme import LIGHT
from fedsyn.stages.report import run

Inputs = dict[str, Artifact]


def report(inputs: Inputs, folder: Path) -> tuple[Folder, dict[str, float]]:
    folder.mkdir()
    settings = REPORT.settings(Experiment.model_validate({}))
    output = Folder(folder)
    return output, run(
        inputs, output, Context("report", torch.device("cpu"), Checkpoints(folder / "checkpoints")), **settings
    )


@pytest.fixture(scope="module")
def inputs(make_inputs: Callable[..., Inputs]) -> Inputs:
    return make_inputs()


@pytest.fixture(scope="module")
def reported(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, dict[str, float]]:
    return report(inputs, tmp_path_factory.mktemp("reported") / "report")


def evidence_of(inputs: Inputs, **sections: object) -> Evidence:
    experiment = Experiment.model_validate(sections)
    settings = {name: value for name, value in REPORT.settings(experiment).items() if name != "seed"}
    return gather(inputs, settings, 0, 2)


def test_stage_writes_page_figures_tables_and_summary(reported: tuple[Folder, dict[str, float]]) -> None:
    output, metrics = reported

    # 12 test images: 9 right before, 10 after; 3 are fixed, 2 broken
    assert metrics["labels_only_accuracy"] == pytest.approx(9 / 12)
    assert metrics["retrained_accuracy"] == pytest.approx(10 / 12)
    assert metrics["gain"] == pytest.approx(1 / 12)
    assert (metrics["test_images_fixed"], metrics["test_images_broken"]) == (3, 2)
    # 12 pseudo-labels, 9 right; 4 are kept, all right
    assert metrics["pseudo_label_precision_before"] == pytest.approx(9 / 12)
    assert metrics["pseudo_label_precision"] == 1
    assert metrics["coverage"] == pytest.approx(4 / 12)
    # 4 clients, 2 classes, 2 images each; one was dropped
    assert (metrics["images_generated"], metrics["images_kept"]) == (16, 15)

    classes = output.read_table("per_class").set_index("class_name")
    assert classes["retrained_accuracy"].tolist() == [0.5, 1, 1]
    assert classes["labeled"].tolist() == [3, 3, 3]
    assert pd.isna(classes["true_precision"]["owl"])
    clients = output.read_table("per_client")
    assert clients["retrained_accuracy"].tolist()[:3] == [0.5, 1, 1]  # client c holds class c only
    assert pd.isna(clients["retrained_accuracy"][3])  # client 3 holds nothing

    summary = json.loads((output.root / "summary.json").read_text())
    assert summary["numbers"]["images_kept"] == 15
    assert summary["inputs"]["synthesis"] == "0123456789abcdef01234567"
    light = sorted(path.name for path in (output.root / "figures").glob("*.png"))
    dark = sorted(path.name for path in (output.root / "figures" / "dark").glob("*.png"))
    assert len(light) == 11
    assert light == dark


def test_same_inputs_give_the_same_bytes(
    inputs: Inputs, reported: tuple[Folder, dict[str, float]], tmp_path: Path
) -> None:
    first, again = reported[0].root, report(inputs, tmp_path / "again")[0].root
    files = [path.relative_to(first) for path in sorted(first.rglob("*")) if path.is_file()]
    assert len(files) == 11 + 11 + 4
    for name in files:
        assert (first / name).read_bytes() == (again / name).read_bytes(), name


def test_page_asks_nobody_and_escapes_names(make_inputs: Callable[..., Inputs], tmp_path: Path) -> None:
    output, _ = report(make_inputs(class_names=("<b>bold</b>", "$x", "\"&'"), channels=3), tmp_path / "report")
    page = (output.root / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|src=\"(?!data:)|@import|url\(", page)
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert page.count("data:image/png;base64,") == 22
    assert str(tmp_path) not in page


def test_page_never_shows_a_path() -> None:
    rows = setting_rows(Experiment.model_validate({"dataset": {"name": "mnist", "root": "/secret"}}).dataset)
    assert [(row.name, row.value, row.changed) for row in rows] == [
        ("name", "mnist", True),
        ("image_size", "–", False),
    ]


def test_page_shows_a_group_within_a_section_as_a_person_writes_it() -> None:
    section = Experiment.model_validate({"classifier": {"server": {"algorithm": "fedprox"}}}).classifier
    rows = {row.name: row for row in setting_rows(section)}
    assert rows["server"].value == "algorithm fedprox, learning_rate 1, proximal_weight 0.01"
    assert rows["server"].changed
    assert rows["privacy"].value == "–"


def test_page_shows_what_a_training_without_noise_spends(inputs: Inputs, tmp_path: Path) -> None:
    """Its epsilon is infinite."""
    manifest = inputs["classifier"].manifest.model_copy(update={"metrics": {"epsilon": float("inf"), "delta": 1e-5}})
    output, _ = report(inputs | {"classifier": Artifact(inputs["classifier"].root, manifest)}, tmp_path / "report")
    assert "delta 1e-05, epsilon ∞" in (output.root / "report.html").read_text(encoding="utf-8")


def test_notes_come_from_the_data(inputs: Inputs) -> None:
    evidence = evidence_of(inputs)
    found = notes(evidence, headline(evidence))
    text = "\n".join(note.text for note in found)
    assert "Class owl kept no pseudo-labels." in text
    assert "One seed" in text
    assert "Calibration had only 3 samples for 3 classes" in text
    assert "is no larger than what 12 test images can tell apart" in text
    assert "in only 25.0\u202f% of the synthetic images" in text
    assert "1 client has no labelled image" in text
    assert "worse than labels only" not in text
    cautions = [note.caution for note in found]
    assert cautions == sorted(cautions, reverse=True)


def test_notes_say_where_nothing_was_kept_and_nothing_could_be_estimated(inputs: Inputs) -> None:
    evidence = evidence_of(inputs)
    quality = evidence.precision.assign(selected=0, true_precision=float("nan"), coverage=0.0, recall=0.0)
    empty = replace(evidence, precision=quality, calibration_samples=0)
    text = "\n".join(note.text for note in notes(empty, headline(empty)))
    assert "No pseudo-label survived the selection: the denoiser has learned from labelled images alone." in text
    assert "Calibration had no sample" in text
    assert "kept no pseudo-labels" not in text
    assert all(plate.draw(LIGHT) for plate in plates(empty) if plate.part == "pseudo-labels")


def test_an_oracle_is_named_as_such(inputs: Inputs) -> None:
    evidence = evidence_of(inputs, selection={"strategy": "oracle"})
    assert "a bound, not a method" in "\n".join(note.text for note in notes(evidence, headline(evidence)))


def test_samples_that_a_bound_needs() -> None:
    # z = 1.2816 at 90 % one-sided: n / (n + 1.6424) >= 0.95 from n = 31.2 on
    assert samples_for_bound(0.95, 0.9) == 32

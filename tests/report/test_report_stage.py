import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fedsyn import schemas
from fedsyn.artifacts import Artifact, Checkpoints, Folder
from fedsyn.config import Experiment, Report
from fedsyn.context import Context
from fedsyn.graph import REPORT
from fedsyn.report.evidence import Evidence, gather
from fedsyn.report.notes import notes, samples_for_bound
from fedsyn.report.page import setting_rows
from fedsyn.report.plates import plates
from fedsyn.report.story import story
from fedsyn.report.tables import headline, image_measures
from fedsyn.report.theme import DARK, LIGHT, png
from fedsyn.stages.report import run

Inputs = dict[str, Artifact]

PLATES = 15
"""Figures of a report, each in a light and a dark theme."""


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


def evidence_of(inputs: Inputs, images_per_class: int = 2, **sections: object) -> Evidence:
    experiment = Experiment.model_validate(sections)
    settings = {name: value for name, value in REPORT.settings(experiment).items() if name != "seed"}
    return gather(inputs, settings, 0, images_per_class)


def test_stage_writes_page_figures_tables_and_summary(reported: tuple[Folder, dict[str, float]]) -> None:
    output, metrics = reported

    # 12 test images: 9 right before, 10 after; 3 are fixed, 2 broken
    assert metrics["labels_only_accuracy"] == pytest.approx(9 / 12)
    assert metrics["retrained_accuracy"] == pytest.approx(10 / 12)
    assert metrics["gain"] == pytest.approx(1 / 12)
    assert metrics["gap_closed"] == pytest.approx(1 / 2)  # from 9 to 10 of 12, where one place has 11
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
    assert len(light) == PLATES
    assert light == dark


def test_a_dark_figure_is_what_it_is_without_the_layout_of_the_light_one(
    inputs: Inputs, reported: tuple[Folder, dict[str, float]]
) -> None:
    drawn = {path.stem: path.read_bytes() for path in (reported[0].root / "figures" / "dark").glob("*.png")}
    alone = {plate.name: png(plate.draw(DARK)) for plate in plates(evidence_of(inputs, Report().images_per_class))}
    assert [name for name in alone if drawn[name] != alone[name]] == []
    assert len(alone) == PLATES


@pytest.fixture(scope="module")
def odd_page(make_inputs: Callable[..., Inputs], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Of a run with odd class names in colour, and a classifier without noise, whose epsilon is infinite."""
    odd, folder = make_inputs(class_names=("<b>bold</b>", "$x", "\"&'"), channels=3), tmp_path_factory.mktemp("odd")
    manifest = odd["classifier"].manifest.model_copy(update={"metrics": {"epsilon": float("inf"), "delta": 1e-5}})
    output, _ = report(odd | {"classifier": Artifact(odd["classifier"].root, manifest)}, folder / "report")
    return folder, (output.root / "report.html").read_text(encoding="utf-8")


def test_page_asks_nobody_and_escapes_names(odd_page: tuple[Path, str]) -> None:
    folder, page = odd_page
    assert not re.search(r"https?:|src=\"(?!data:)|@import|url\(", page)
    assert "<b>bold" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert page.count("data:image/png;base64,") == 2 * PLATES
    assert str(folder) not in page


def test_page_shows_what_a_training_without_noise_spends(odd_page: tuple[Path, str]) -> None:
    assert "delta 1e-05, epsilon ∞" in odd_page[1]


def test_page_shows_every_section_that_the_report_is_given(odd_page: tuple[Path, str]) -> None:
    shown = re.findall(r'<tr class="section"><th[^>]*>([^<]*)</th>', odd_page[1])
    named = [name.replace("_", " ").capitalize() for name in REPORT.sections if name != "seed"]
    assert shown == ["Experiment", *named]  # the seed
    assert {"augmentation", "prediction", "guidance_interval"} <= set(
        re.findall(r'<th scope="row">(\w+)</th>', odd_page[1])
    )


def test_page_never_shows_a_path() -> None:
    rows = setting_rows(Experiment.model_validate({"dataset": {"name": "mnist", "root": "/secret"}}).dataset)
    assert [(row.name, row.value, row.changed) for row in rows] == [
        ("name", "mnist", True),
        ("image_size", "–", False),
    ]


def test_page_shows_the_cycles_where_there_are_several() -> None:
    assert "cycles" not in {row.name for row in setting_rows(Experiment().retrain)}
    rows = setting_rows(Experiment.model_validate({"retrain": {"cycles": 3}}).retrain)
    assert [(row.name, row.value) for row in rows if row.changed] == [("cycles", "3")]


def test_page_shows_a_group_within_a_section_as_a_person_writes_it() -> None:
    section = Experiment.model_validate({"classifier": {"server": {"algorithm": "fedprox"}}}).classifier
    rows = {row.name: row for row in setting_rows(section)}
    assert rows["server"].value == "algorithm fedprox, learning_rate 1, proximal_weight 0.01"
    assert rows["server"].changed
    assert rows["privacy"].value == "–"


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


def test_notes_say_what_is_wrong_with_the_images(inputs: Inputs) -> None:
    evidence = evidence_of(inputs)
    text = "\n".join(note.text for note in notes(evidence, headline(evidence)) if note.caution)
    assert "Mode collapse: class cat." in text  # its diversity is 0; the last class has no images and so none
    assert "12.5\u202f% of the synthetic images are much closer to one training image" in text
    assert "The judge recognises only 75.0\u202f% of real test images" in text


def test_a_class_that_the_judge_does_not_see_is_named_where_it_knows_the_real_one(inputs: Inputs) -> None:
    evidence = evidence_of(inputs)
    quality = evidence.image_quality.assign(class_agreement=[0.3, 0.3, np.nan], class_agreement_real=[0.9, 0.4, 0.9])
    text = "\n".join(note.text for note in notes(replace(evidence, image_quality=quality), headline(evidence)))
    assert "knows real images of class cat, takes most synthetic ones of it for another class" in text


def test_images_without_fault_get_no_note(inputs: Inputs) -> None:
    evidence = evidence_of(inputs)
    fine = replace(evidence, image_quality=evidence.image_quality.assign(relative_diversity=0.9, class_agreement=0.5))
    numbers = headline(fine) | {"memorised_share": 0.004, "class_agreement_real": 0.95}
    text = "\n".join(note.text for note in notes(fine, numbers))
    assert "collapse" not in text
    assert "memorised" not in text
    assert "judge" not in text


def test_each_measure_of_the_images_stands_beside_that_of_real_ones(inputs: Inputs) -> None:
    table = image_measures(evidence_of(inputs)).set_index("measure")
    assert table.loc["Fréchet distance"].tolist() == ["judge features", "lower", 4, 4]
    assert pd.isna(table["synthetic"]["recall"])
    assert table["real"]["recall"] == 1


def test_pairs_are_a_synthetic_image_and_its_nearest_training_image(inputs: Inputs) -> None:
    evidence = evidence_of(inputs)
    assert [pairs.shape for pairs in evidence.nearest] == [(1, 8, 16, 1), (1, 8, 16, 1), (0, 8, 16, 1)]
    images = inputs["dataset"].read_tensors("images")["images"].numpy()
    assert (evidence.nearest[0][0] == np.concatenate([images[0], images[17]], axis=1)).all()
    assert (evidence.nearest[1][0] == np.concatenate([images[3], images[0]], axis=1)).all()


def said(inputs: Inputs, **sections: object) -> str:
    evidence = evidence_of(inputs, **sections)
    return "\n".join(note.text for note in notes(evidence, headline(evidence)))


def with_plan(inputs: Inputs, folder: Path, **columns: object) -> Inputs:
    """The inputs, with other columns in the plan of the synthesis."""
    plan = inputs["synthesis"].read_table("plan").assign(**columns)
    shutil.copytree(inputs["synthesis"].root, folder)
    Folder(folder).write_table("plan", plan, schemas.PLAN)
    return inputs | {"synthesis": Artifact(folder, inputs["synthesis"].manifest)}


def test_a_filter_is_reported_class_by_class(inputs: Inputs, tmp_path: Path) -> None:
    text = said(inputs, synthesis={"filter": True})
    assert "The filter dropped 1 of 16 synthetic images, namely 1 of 8 of class cat." in text
    kept = inputs["synthesis"].read_table("plan")["kept"].where(lambda kept: kept.index % 3 != 1, 0)  # no dog is left
    text = said(with_plan(inputs, tmp_path / "none", kept=kept), synthesis={"filter": True})
    assert "The filter dropped every synthetic image of class dog: the step-1 classifier confirms none." in text
    assert "Retraining has its real images only." in text
    assert "The filter dropped 9 of 16 synthetic images, namely 8 of 8 of class dog, 1 of 8 of class cat." in text
    assert "The filter" not in said(inputs)


def test_a_shared_pool_says_how_many_different_images_there_are(inputs: Inputs) -> None:
    manifest = inputs["synthesis"].manifest.model_copy(update={"metrics": {"drawn": 4.0}})
    shared = inputs | {"synthesis": Artifact(inputs["synthesis"].root, manifest)}
    assert "the 16 synthetic images are 4 different ones" in said(shared, synthesis={"shared_pool": True})
    assert "different ones" not in said(shared)
    # cats and dogs have one number each in the plan made by hand: of each one picture is shown, and not one a client
    shown = evidence_of(shared, synthesis={"shared_pool": True}).synthetic
    assert [len(pictures) for pictures in shown] == [1, 1, 0]
    assert [len(pictures) for pictures in evidence_of(shared).synthetic] == [2, 2, 0]


def test_a_class_that_the_denoiser_never_saw_is_named(inputs: Inputs, tmp_path: Path) -> None:
    assignments = inputs["partition"].read_table("assignments")
    owl = (assignments["label"] == 2) & (assignments["role"] == "labeled")
    shutil.copytree(inputs["partition"].root, tmp_path / "partition")
    Folder(tmp_path / "partition").write_table("assignments", assignments[~owl], schemas.ASSIGNMENTS)
    poorer = inputs | {"partition": Artifact(tmp_path / "partition", inputs["partition"].manifest)}
    assert "the denoiser never saw it, and nothing was made" in said(
        poorer, synthesis={"target": "fixed", "per_class": 2}
    )
    assert "never saw" not in said(inputs)


@pytest.mark.parametrize(
    ("section", "settings", "words"),
    [
        ("classifier", {"logit_adjustment": "client"}, "(fedavg, logits adjusted by each client's labels) over"),
        ("pseudo_labels", {"distribution_alignment": "client"}, "images, align the predictions to each client's own"),
        (
            "synthesis",
            {"target": "fixed", "per_class": 2},
            "a fixed number of images of every class: 16 images in all.",
        ),
        ("synthesis", {"shared_pool": True}, "16 images in all, dealt out of one pool of fewer different ones."),
    ],
)
def test_the_story_tells_what_was_chosen(inputs: Inputs, section: str, settings: dict, words: str) -> None:
    usual, evidence = evidence_of(inputs), evidence_of(inputs, **{section: settings})
    assert words in story(evidence, headline(evidence))
    assert words not in story(usual, headline(usual))


def test_captions_say_what_a_client_is_taken_to_have(inputs: Inputs) -> None:
    captions = {
        have: next(
            plate.caption
            for plate in plates(evidence_of(inputs, synthesis={"have": have}))
            if plate.name == "synthesis_plan"
        )
        for have in ("labels", "labels_and_pseudo_labels")
    }
    assert "a client's labelled training images" in captions["labels"]
    assert "a client's labelled and pseudo-labelled training images" in captions["labels_and_pseudo_labels"]


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


def test_without_an_autoencoder_nothing_is_said_of_one(inputs: Inputs) -> None:
    without = evidence_of(inputs, autoencoder={"kind": "pixel"}, denoiser={"prediction": "flow"})
    untrained = without.histories["autoencoder"].head(0)
    without = replace(without, histories={**without.histories, "autoencoder": untrained})
    drawn = {plate.name: plate for plate in plates(without)}
    assert "reconstructions" not in drawn
    assert [axes.get_title("left") for axes in drawn["training_losses"].draw(LIGHT).axes] == ["Denoiser"]
    assert "class-conditional flow-matching model" in story(without, headline(without))
    usual = evidence_of(inputs)
    assert "reconstructions" in {plate.name for plate in plates(usual)}
    assert "class-conditional latent diffusion model" in story(usual, headline(usual))


def test_samples_that_a_bound_needs() -> None:
    # z = 1.2816 at 90 % one-sided: n / (n + 1.6424) >= 0.95 from n = 31.2 on
    assert samples_for_bound(0.95, 0.9) == 32

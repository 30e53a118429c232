"""The report: figures, tables and one page that say what a run did, how well, and what to doubt."""

from collections.abc import Mapping
from math import isfinite

from fedsyn.artifacts import Artifact, Folder
from fedsyn.config import (
    Autoencoder,
    Classifier,
    Dataset,
    Denoiser,
    Judge,
    Latents,
    Partition,
    PseudoLabels,
    Quality,
    Report,
    Retrain,
    Section,
    Selection,
    Synthesis,
)
from fedsyn.context import Context
from fedsyn.report import schemas
from fedsyn.report.evidence import gather
from fedsyn.report.notes import notes
from fedsyn.report.page import render
from fedsyn.report.plates import plates
from fedsyn.report.tables import headline, image_measures, per_class, per_client
from fedsyn.report.theme import DARK, LIGHT, place_like, png


def run(
    inputs: Mapping[str, Artifact],
    output: Folder,
    context: Context,
    *,
    seed: int,
    dataset: Dataset,
    partition: Partition,
    classifier: Classifier,
    pseudo_labels: PseudoLabels,
    selection: Selection,
    autoencoder: Autoencoder,
    latents: Latents,
    denoiser: Denoiser,
    synthesis: Synthesis,
    retrain: Retrain,
    judge: Judge,
    quality: Quality,
    report: Report,
) -> dict[str, float]:
    """Writes report.html, figures/*.png (dark ones in figures/dark/), summary.json, and per_class.parquet and
    per_client.parquet."""
    settings: dict[str, Section] = {
        "dataset": dataset,
        "partition": partition,
        "classifier": classifier,
        "pseudo_labels": pseudo_labels,
        "selection": selection,
        "autoencoder": autoencoder,
        "latents": latents,
        "denoiser": denoiser,
        "synthesis": synthesis,
        "retrain": retrain,
        "judge": judge,
        "quality": quality,
        "report": report,
    }
    evidence = gather(inputs, settings, seed, report.images_per_class)
    numbers, classes, clients = headline(evidence), per_class(evidence), per_client(evidence)
    remarks, figures = notes(evidence, numbers), plates(evidence)

    images = {}
    for done, plate in enumerate(figures, start=1):
        light, dark = plate.draw(LIGHT), plate.draw(DARK)
        images[plate.name, LIGHT.name] = png(light)
        place_like(dark, light)
        images[plate.name, DARK.name] = png(dark)
        for theme, folder in ((LIGHT, "figures"), (DARK, "figures/dark")):
            output.path(f"{folder}/{plate.name}.png").write_bytes(images[plate.name, theme.name])
        context.progress(done, len(figures), "figures")

    page = render(evidence, numbers, remarks, figures, images, (classes, clients), image_measures(evidence))
    output.path("report.html").write_text(page, encoding="utf-8", newline="\n")
    output.write_table("per_class", classes, schemas.PER_CLASS)
    output.write_table("per_client", clients, schemas.PER_CLIENT)
    summary = {
        "dataset": evidence.info["name"],
        "seed": seed,
        "numbers": {name: value if isfinite(value) else None for name, value in numbers.items()},
        "notes": [note.text for note in remarks],
        "inputs": {trace.stage: trace.key for trace in evidence.traces},
    }
    output.write_json("summary", summary)
    return numbers

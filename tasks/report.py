"""The report stage; its table and main figures also become Prefect artifacts."""

import os

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from fedsyn.artifacts import Artifact, Manifest
from fedsyn.config import Execution, Experiment, variable
from fedsyn.graph import REPORT
from fedsyn.pipeline import store_of
from fedsyn.report.headline import headline_in_words
from fedsyn.report.preview import preview
from tasks.showing import picture_in_markdown, shown
from tasks.stage import Published, manifest_of, publish, stage_task

SHOWN_FIGURES = {
    "accuracy_by_round": "Accuracy by round",
    "partition": "Who holds what",
    "pseudo_labels": "Precision and coverage of the pseudo-labels",
    "confusion": "Which class is taken for which",
    "real_beside_synthetic": "Real beside synthetic",
    "nearest_training_images": "Synthetic images beside their nearest training image",
}
"""Figures of the report that Prefect's UI shows, and their titles."""


@stage_task
def report(
    experiment: Experiment,
    execution: Execution,
    dataset: Manifest,
    partition: Manifest,
    classifier: Manifest,
    pseudo_labels: Manifest,
    selection: Manifest,
    autoencoder: Manifest,
    latents: Manifest,
    denoiser: Manifest,
    synthesis: Manifest,
    retrain: Manifest,
    bounds: Manifest,
    self_training: Manifest,
    quality: Manifest,
) -> Published:
    """Pictures, tables and one page; shown in Prefect's UI too."""
    published = publish(
        REPORT,
        experiment,
        execution,
        dataset=dataset,
        partition=partition,
        classifier=classifier,
        pseudo_labels=pseudo_labels,
        selection=selection,
        autoencoder=autoencoder,
        latents=latents,
        denoiser=denoiser,
        synthesis=synthesis,
        retrain=retrain,
        bounds=bounds,
        self_training=self_training,
        quality=quality,
    )
    artifact = store_of(execution).open(manifest_of(published))
    with shown("the result"):
        show(artifact, experiment, execution)
    return published


def show(artifact: Artifact, experiment: Experiment, execution: Execution) -> None:
    """Publish a report's headline as a table, its main figures as markdown, and a link to its page, each with its
    place in the store.

    The figures are previews: Prefect keeps artifacts in its database, and full ones would swell it.
    """
    place = f"report/{artifact.manifest.key}"
    run = f"{experiment.dataset.name}, seed {experiment.seed} (store: {place})"
    rows = [{"quantity": name, "value": value} for name, value in headline_in_words(artifact.manifest.metrics).items()]
    create_table_artifact(rows, key="result", description=f"Results of {run}")
    for name, title in SHOWN_FIGURES.items():
        picture = picture_in_markdown(name, preview(artifact.root / "figures" / f"{name}.png"))
        create_markdown_artifact(f"# {title}\n\n{picture}", key=name.replace("_", "-"), description=f"{title}: {run}")
    page = artifact.root / "report.html"
    address = os.environ.get("FEDSYN_REPORTS_URL")
    if address and execution.store == os.environ.get(variable("store")):  # that store is what the address gives
        create_link_artifact(f"{address}/{place}/report.html", "The report", key="report", description=str(page))
    else:
        create_markdown_artifact(f"The report: `{page}`", key="report", description=f"The page of {run}")

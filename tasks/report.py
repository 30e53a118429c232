"""The report stage; its table and main figures also become Prefect artifacts."""

import base64

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from fedsyn.artifacts import Artifact, Manifest
from fedsyn.config import Execution, Experiment
from fedsyn.graph import REPORT
from fedsyn.pipeline import store_of
from fedsyn.report.headline import headline_in_words
from fedsyn.report.preview import preview
from tasks.stage import Published, manifest_of, publish, stage_task

SHOWN_FIGURES = ("partition", "accuracy_by_round", "pseudo_labels", "real_beside_synthetic")


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
    )
    show(store_of(execution).open(manifest_of(published)), experiment)
    return published


def show(artifact: Artifact, experiment: Experiment) -> None:
    """Publish a report's headline as a table and its main figures as markdown, each with the store's key.

    The figures are previews: Prefect keeps artifacts in its database, and full ones would swell it.
    """
    key = f"report/{artifact.manifest.key}"
    rows = [{"quantity": name, "value": value} for name, value in headline_in_words(artifact.manifest.metrics).items()]
    title = f"{experiment.dataset.name}, seed {experiment.seed}"
    create_table_artifact(rows, key="ddsa-fssl-results", description=f"Results of {title} (store: {key})")
    lines = [f"# {title}", f"Full page: `{artifact.root / 'report.html'}` (store: {key})"]
    for name in SHOWN_FIGURES:
        png = base64.b64encode(preview(artifact.root / "figures" / f"{name}.png")).decode()
        lines.append(f"![{name}](data:image/png;base64,{png})")
    create_markdown_artifact("\n\n".join(lines), key="ddsa-fssl-figures", description=f"Figures of {title}")

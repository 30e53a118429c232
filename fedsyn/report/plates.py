"""The figures of the page, in their order, and what each caption asks the reader to look for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from matplotlib.figure import Figure

from fedsyn.config import Report, Selection
from fedsyn.report.calibration import precision_by_coverage, reliability_diagram
from fedsyn.report.clients import client_accuracy_change, synthesis_plan
from fedsyn.report.curves import accuracy_by_round, training_losses
from fedsyn.report.evidence import Evidence
from fedsyn.report.heatmaps import confusion_matrices, partition_heatmaps
from fedsyn.report.pictures import real_beside_synthetic, reconstruction_strip
from fedsyn.report.quality import pseudo_label_quality
from fedsyn.report.tables import per_client
from fedsyn.report.theme import Theme

STRIP = 16  # test images in the strip of reconstructions


@dataclass(frozen=True)
class Plate:
    """A figure, the part of the page it belongs to, its title, and its caption."""

    name: str
    part: str
    title: str
    caption: str
    draw: Callable[[Theme], Figure]


def plates(evidence: Evidence) -> list[Plate]:
    """All figures of a report, in reading order."""
    names, histories, pictures = evidence.class_names, evidence.histories, evidence.reconstructions
    selection, settings = (
        cast(Selection, evidence.settings["selection"]),
        cast(Report, evidence.settings["report"]),
    )
    target = selection.target_precision if selection.strategy == "threshold" else None
    clients = per_client(evidence)
    before, after = (clients[f"{name}_accuracy"].to_numpy() for name in ("labels_only", "retrained"))
    return [
        Plate(
            "accuracy_by_round",
            "result",
            "Accuracy by round",
            "Test accuracy of the global model in both federated trainings. Look at where the curves end, not"
            " at their peaks: the last round is what is reported.",
            lambda theme: accuracy_by_round(histories["classifier"], histories["retrain"], theme),
        ),
        Plate(
            "confusion",
            "result",
            "Which class is taken for which",
            "Confusion on the test set, in per cent of the true class. Look for a column that has filled up"
            " in the right panel: a class that the retrained model over-predicts.",
            lambda theme: confusion_matrices(evidence.confusion_before, evidence.confusion_after, names, theme),
        ),
        Plate(
            "client_accuracy",
            "result",
            "Accuracy for each client",
            "The global model's accuracy per class, weighted by each client's own labelled classes. Look for"
            " clients that lose although the average gains.",
            lambda theme: client_accuracy_change(before, after, theme),
        ),
        Plate(
            "partition",
            "data",
            "Who holds what",
            "Images of each client and class, labelled (for training and calibration) and unlabelled; colours"
            " are logarithmic, each panel on its own scale. Look for empty cells, and for clients whose two"
            " rows differ. The classes of unlabelled images are known to this report only.",
            lambda theme: partition_heatmaps(evidence.labeled, evidence.unlabeled, names, theme),
        ),
        Plate(
            "pseudo_labels",
            "pseudo-labels",
            "Precision and coverage of each class",
            "Circles are true precision, from hidden labels; diamonds are what the server estimated from"
            " calibration counts, with a whisker down to the lower bound. Look for circles below their"
            " whisker (the estimate was too hopeful) and for classes whose bar is missing (nothing was"
            " kept).",
            lambda theme: pseudo_label_quality(evidence.precision, names, target, theme),
        ),
        Plate(
            "reliability",
            "pseudo-labels",
            "What a confidence is worth",
            "How often predictions are right, by their confidence: circles on the unlabelled images, from hidden"
            " labels; diamonds on the calibration samples, which is what the server knows. Large marks stand for many"
            " predictions. Look for circles below the bars (confidence is too high there) and"
            " for diamonds away from their circles (calibration misleads).",
            lambda theme: reliability_diagram(
                evidence.grid, evidence.calibration_matrices, evidence.hidden_matrices, theme
            ),
        ),
        Plate(
            "precision_by_coverage",
            "pseudo-labels",
            "Precision against coverage",
            "Each point is a confidence of the grid; the broad line is the share that was kept. Look for classes whose"
            " two curves part, and for true curves that do not rise to the left: more confidence buys no precision"
            " there.",
            lambda theme: precision_by_coverage(
                evidence.calibration_matrices, evidence.hidden_matrices, evidence.kept_share, names, target, theme
            ),
        ),
        Plate(
            "real_beside_synthetic",
            "synthesis",
            "Real beside synthetic",
            "Drawn at random, not chosen. Look for a row whose synthetic side shows another class, or the"
            " same image again and again.",
            lambda theme: real_beside_synthetic(
                evidence.real, evidence.synthetic, names, settings.images_per_class, theme
            ),
        ),
        Plate(
            "reconstructions",
            "synthesis",
            "What the autoencoder can express",
            "Test images above their reconstructions. Detail that is lost here cannot appear in any synthetic image.",
            lambda theme: reconstruction_strip(pictures["original"][:STRIP], pictures["reconstruction"][:STRIP], theme),
        ),
        Plate(
            "training_losses",
            "synthesis",
            "Loss of the generative models",
            "Mean local loss in each round. Look for a curve that is still falling at its end: more rounds"
            " would help it.",
            lambda theme: training_losses(
                {"Autoencoder": histories["autoencoder"], "Denoiser": histories["denoiser"]}, theme
            ),
        ),
        Plate(
            "synthesis_plan",
            "synthesis",
            "What each client was missing",
            "Left: a client's labelled training images, what was synthesised for it, and its target. Right:"
            " the synthetic images by class; empty cells needed none. Look for bars that are nearly all"
            " synthetic.",
            lambda theme: synthesis_plan(evidence.plan, names, theme),
        ),
    ]

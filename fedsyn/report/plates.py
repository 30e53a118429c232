"""The figures of the page, in their order, and what each caption asks the reader to look for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from matplotlib.figure import Figure

from fedsyn.config import Autoencoder, Report, Selection, Synthesis
from fedsyn.report.calibration import precision_by_coverage, reliability_diagram
from fedsyn.report.clients import client_accuracy_change, synthesis_plan
from fedsyn.report.curves import accuracy_by_round, training_losses
from fedsyn.report.evidence import Evidence
from fedsyn.report.heatmaps import confusion_matrices, partition_heatmaps
from fedsyn.report.image_quality import class_by_class, where_images_lie
from fedsyn.report.ladder import ladder
from fedsyn.report.pictures import beside_nearest, real_beside_synthetic, reconstruction_strip
from fedsyn.report.quality import pseudo_label_quality
from fedsyn.report.tables import headline, per_client
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
    """All figures of a report, in reading order. Without an autoencoder there is nothing that it could have lost."""
    names, histories, pictures = evidence.class_names, evidence.histories, evidence.reconstructions
    selection, settings = (
        cast(Selection, evidence.settings["selection"]),
        cast(Report, evidence.settings["report"]),
    )
    target = selection.target_precision if selection.strategy == "threshold" else None
    counted = cast(Synthesis, evidence.settings["synthesis"]).have
    own = "labelled" if counted == "labels" else "labelled and pseudo-labelled"
    clients, numbers = per_client(evidence), headline(evidence)
    before, after = (clients[f"{name}_accuracy"].to_numpy() for name in ("labels_only", "retrained"))
    trained = {name.capitalize(): histories[name] for name in ("autoencoder", "denoiser") if len(histories[name])}
    drawn = [
        Plate(
            "ladder",
            "result",
            "Among rivals and bounds",
            "The same classifier with the same first weights and as many local steps, on other data. Look whether the"
            " synthetic images add anything to the pseudo-labels alone, and how much of the way to the same labels in"
            " one place is left. True labels of all images are no upper bound: skew pulls that training apart too.",
            lambda theme: ladder(numbers, theme),
        ),
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
            "nearest_training_images",
            "synthesis",
            "The likeliest copies",
            "For each class the synthetic images that lie closest to one training image of the denoiser in pixels,"
            " compared with how close the next ones are. Look for pairs that are the same picture; blurred images of"
            " a plain class are alike without being copies.",
            lambda theme: beside_nearest(evidence.nearest, names, settings.images_per_class, theme),
        ),
        Plate(
            "image_quality",
            "synthesis",
            "Do they show their class, and are they all the same?",
            "Upper: share of a class's images that the judge recognises. Lower: mean distance of two synthetic images"
            " of a class in judge features, in units of that of real test images. Look for bars below the dashed line"
            " (the model makes one image again and again), and for classes far below the grey dot.",
            lambda theme: class_by_class(evidence.image_quality, names, theme),
        ),
        Plate(
            "image_support",
            "synthesis",
            "Where synthetic images lie among real ones",
            "Shares of neighbourhoods in judge features, against the test set. Precision and density: synthetic images"
            " lie where real ones do; recall and coverage: they lie everywhere that real ones do. Grey: as many real"
            " training images of the same classes, which is what perfect images would score.",
            lambda theme: where_images_lie(evidence.image_scores["judge features"], theme),
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
            lambda theme: training_losses(trained, theme),
        ),
        Plate(
            "synthesis_plan",
            "synthesis",
            "What each client was missing",
            f"Left: a client's {own} training images, what was synthesised for it, and its target. Right:"
            " the synthetic images by class; empty cells needed none. Look for bars that are nearly all"
            " synthetic.",
            lambda theme: synthesis_plan(evidence.plan, names, theme, own=own),
        ),
    ]
    pixels = cast(Autoencoder, evidence.settings["autoencoder"]).kind == "pixel"
    return [plate for plate in drawn if not (pixels and plate.name == "reconstructions")]

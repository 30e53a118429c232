"""The few numbers that a person looks at first, in words."""

from collections.abc import Mapping

from fedsyn.report.text import count, percent, points


def headline_in_words(metrics: Mapping[str, float]) -> dict[str, str]:
    """The report's metrics as labelled text, for the terminal and for Prefect's table."""
    images = {
        "recognised by the judge": ("class_agreement", "class_agreement_real"),
        "memorised": ("memorised_share", "memorised_share_real"),
    }
    gain = points(metrics["gain"], digits=2)
    return {
        "labels-only accuracy": percent(metrics["labels_only_accuracy"], 2),
        "retrained accuracy": percent(metrics["retrained_accuracy"], 2),
        "gain": f"{gain} points",
        "labels and pseudo-labels, no images": percent(metrics["self_training_accuracy"], 2),
        "true labels of all images": percent(metrics["all_labels_accuracy"], 2),
        "same labels in one place": percent(metrics["central_accuracy"], 2),
        "pseudo-label precision, all": percent(metrics["pseudo_label_precision_before"], 2),
        "pseudo-label precision, selected": percent(metrics["pseudo_label_precision"], 2),
        "pseudo-label coverage": percent(metrics["coverage"], 2),
        "synthetic images": count(metrics["images_kept"]),
        **{
            f"synthetic images, {words}": f"{percent(metrics[made], 2)} (real ones: {percent(metrics[real], 2)})"
            for words, (made, real) in images.items()
            if made in metrics
        },
    }

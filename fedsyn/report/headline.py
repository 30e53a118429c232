"""The few numbers that a person looks at first, in words."""

from collections.abc import Mapping


def headline_in_words(metrics: Mapping[str, float]) -> dict[str, str]:
    """The report's metrics as labelled text, for the terminal and for Prefect's table."""
    return {
        "labels-only accuracy": f"{metrics['labels_only_accuracy']:.2%}",
        "retrained accuracy": f"{metrics['retrained_accuracy']:.2%}",
        "gain": f"{100 * metrics['gain']:+.2f} points",
        "pseudo-label precision, all": f"{metrics['pseudo_label_precision_before']:.2%}",
        "pseudo-label precision, selected": f"{metrics['pseudo_label_precision']:.2%}",
        "pseudo-label coverage": f"{metrics['coverage']:.2%}",
        "synthetic images": f"{metrics['images_kept']:,.0f}",
    }

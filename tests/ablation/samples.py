"""Reports of a study, made by hand."""

from collections.abc import Mapping

from fedsyn.ablation import Study
from fedsyn.artifacts import Manifest, Store
from tests import handmade

STUDY = Study(name="steps", grid={"synthesis.steps": [5, 6]})
BEFORE = {0: 0.7, 1: 0.72, 2: 0.74}
AFTER = {
    ("steps=5", 0): 0.80, ("steps=5", 1): 0.82, ("steps=5", 2): 0.84,
    ("steps=6", 0): 0.81, ("steps=6", 1): 0.84, ("steps=6", 2): 0.87,
}  # fmt: skip


def reports(store: Store, after: Mapping[tuple[str, int], float] = AFTER) -> dict[tuple[str, int], Manifest]:
    """The report of each run, with these accuracies after retraining."""
    return {
        (arm, seed): handmade.publish(
            store,
            lambda folder, value=value: folder.write_json("summary", value),
            "report",
            f"{number:024x}",
            metrics={
                "labels_only_accuracy": BEFORE[seed],
                "retrained_accuracy": value,
                "gain": value - BEFORE[seed],
                "coverage": float("nan"),
            },
        ).manifest
        for number, ((arm, seed), value) in enumerate(after.items())
    }

"""What a reader must know before believing the numbers, said by rules over the run's own data."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, isfinite
from statistics import NormalDist
from typing import cast

import numpy as np
import pandas as pd

from fedsyn.config import Classifier, Partition, PseudoLabels, Retrain, Selection, Synthesis
from fedsyn.metrics.accuracy import class_accuracy
from fedsyn.report.evidence import Evidence
from fedsyn.report.text import count, percent, points

FEW_CALIBRATION_SAMPLES = 20  # a class; below it an estimated precision says little
LOW_AGREEMENT = 0.5
LOW_ACCURACY = 0.5  # of a classifier whose estimates of class mixtures are used
LOW_PSNR_DB = 18.0
LOW_DIVERSITY = 0.5  # of real images, in judge features; below it a class has collapsed
WEAK_JUDGE = 0.8
MEMORISED = 0.01  # share of the images beyond that of real images that nobody trained on


@dataclass(frozen=True)
class Note:
    """One sentence or two; a caution weakens a headline number, a remark explains one."""

    caution: bool
    text: str


def notes(evidence: Evidence, numbers: Mapping[str, float]) -> list[Note]:
    """All notes that apply, cautions first. `numbers`: the headline's."""
    rules: tuple[Callable[[Evidence, Mapping[str, float]], Iterator[Note]], ...] = (
        _about_gain,
        _about_selection,
        _about_estimates,
        _about_synthesis,
        _about_images,
        _about_classes,
        _about_clients,
        _about_method,
    )
    found = [note for rule in rules for note in rule(evidence, numbers)]
    return sorted(found, key=lambda note: not note.caution)


def _about_gain(evidence: Evidence, numbers: Mapping[str, float]) -> Iterator[Note]:
    gain, half_width = numbers["gain"], numbers["gain_half_width_test_set"]
    if gain < 0:
        yield Note(True, f"The retrained model is worse than labels only: {points(gain)} points.")
    if isfinite(half_width) and abs(gain) <= half_width:
        yield Note(
            True,
            f"The change of {points(gain)} points is no larger than what {count(numbers['test_images'])} test"
            f" images can tell apart (±{100 * half_width:.1f} points at {percent(0.95, 0)}).",
        )
    if numbers["self_training_accuracy"] >= numbers["retrained_accuracy"]:
        yield Note(
            True,
            "Labels and selected pseudo-labels without any synthetic image are as good or better: "
            f"{percent(numbers['self_training_accuracy'])}. The synthetic images did not pay.",
        )
    classifier = cast(Classifier, evidence.settings["classifier"])
    retrain = cast(Retrain, evidence.settings["retrain"])
    if classifier.local_steps is None or classifier.client_fraction < 1 or retrain.warm_start:
        yield Note(
            True,
            "The two trainings took different local steps (classifier.local_steps is empty, client_fraction below 1,"
            " or retrain.warm_start is on): part of the change may be theirs, not the data's.",
        )
    yield Note(
        True,
        "One seed: this page has no interval over seeds. Run several seeds before comparing methods: another "
        "partition alone can move these numbers by several points.",
    )


def _about_selection(evidence: Evidence, numbers: Mapping[str, float]) -> Iterator[Note]:
    selection = cast(Selection, evidence.settings["selection"])
    names, quality = evidence.class_names, evidence.precision
    if selection.strategy == "oracle":
        yield Note(
            True,
            "Pseudo-labels were selected by the hidden labels (strategy “oracle”): a bound, not a method.",
        )
    before, after = numbers["pseudo_label_precision_before"], numbers["pseudo_label_precision"]
    if selection.strategy not in ("none", "oracle") and after < before:
        yield Note(
            True,
            f"Selection made pseudo-labels less precise: {percent(before)} before, {percent(after)} after.",
        )
    empty = quality["selected"] == 0
    if empty.all():
        yield Note(True, "No pseudo-label survived the selection: the denoiser has learned from labelled images alone.")
    elif empty.any():
        yield Note(True, f"{_classes(names, empty)} kept no pseudo-labels.")
    if selection.strategy == "threshold":
        missed = ~quality["reached"] & ~empty
        if missed.any():
            yield Note(
                True,
                f"No confidence reached the target precision of {percent(selection.target_precision, 0)} for "
                f"{_classes(names, missed, start=False)}; the highest "
                f"confidence that still kept {selection.min_per_class} of its pseudo-labels, and "
                f"{percent(selection.min_share, 0)} of them, was used instead.",
            )


def _about_estimates(evidence: Evidence, numbers: Mapping[str, float]) -> Iterator[Note]:
    selection = cast(Selection, evidence.settings["selection"])
    if cast(PseudoLabels, evidence.settings["pseudo_labels"]).calibration == "train":
        yield Note(True, "Precision was estimated on the labels that trained the classifier: it is optimistic.")
    plain = evidence.metrics("pseudo_labels").get("calibration_accuracy_without_mixtures", 1.0)
    if plain < LOW_ACCURACY:
        yield Note(
            True,
            f"The step-1 classifier is right about {percent(plain)} of the calibration samples only: the clients'"
            " class mixtures, and the precision estimated with them, are not to be trusted.",
        )
    samples, num_classes = evidence.calibration_samples, len(evidence.class_names)
    if samples == 0:
        yield Note(
            True, "Calibration had no sample: no precision could be estimated, and the thresholds rest on confidence."
        )
    elif samples < FEW_CALIBRATION_SAMPLES * num_classes:
        text = f"Calibration had only {samples:,} samples for {num_classes} classes: the estimated precision is weak."
        if selection.strategy == "threshold" and selection.bound == "wilson" and selection.target_precision < 1:
            needed = samples_for_bound(selection.target_precision, selection.confidence_level)
            text += (
                f" Even a faultless class needs {needed} of them before its lower bound reaches "
                f"{percent(selection.target_precision, 0)}."
            )
        yield Note(True, text)
    optimistic = evidence.precision["lower_bound"] > evidence.precision["true_precision"]
    if optimistic.any():
        yield Note(
            True,
            "The lower bound of the precision was higher than the true precision for"
            f" {_classes(evidence.class_names, optimistic, start=False)}. A bound at"
            f" {percent(selection.confidence_level, 0)} fails now and then, and more often where its"
            " threshold was chosen by it.",
        )


def _about_synthesis(evidence: Evidence, numbers: Mapping[str, float]) -> Iterator[Note]:
    synthesis = cast(Synthesis, evidence.settings["synthesis"])
    agreement, psnr = numbers["classifier_agreement"], numbers["test_psnr_db"]
    if agreement < LOW_AGREEMENT:
        yield Note(
            True,
            f"The {evidence.labeler} sees the intended class in only {percent(agreement)} of the synthetic"
            " images: either they do not show their class, or it cannot tell.",
        )
    if psnr < LOW_PSNR_DB:
        yield Note(
            True,
            f"The autoencoder restores test images at {psnr:.1f} dB only; no synthetic image can be sharper.",
        )
    made, kept = numbers["images_generated"], numbers["images_kept"]
    if synthesis.filter and made:
        yield from _about_filter(evidence.class_names, evidence.plan, made - kept, evidence.labeler)
    drawn = evidence.metrics("synthesis").get("drawn", made)
    if synthesis.shared_pool and drawn < made:
        yield Note(
            False,
            f"Clients share a pool: the {count(made)} synthetic images are {count(drawn)} different ones, the same for"
            " several clients.",
        )
    missing = (evidence.plan["target"] - evidence.plan["have"]).clip(lower=0).sum()
    if missing > made:
        yield Note(
            False,
            f"The budget of a client cut the plan: {count(made)} of {count(missing)} missing images were made.",
        )


def _about_images(evidence: Evidence, numbers: Mapping[str, float]) -> Iterator[Note]:
    quality = evidence.image_quality
    collapsed = quality["relative_diversity"] < LOW_DIVERSITY
    if collapsed.any():
        yield Note(
            True,
            f"Mode collapse: {_classes(evidence.class_names, collapsed, start=False)}. Synthetic images of"
            f" {_are(collapsed.to_numpy(), 'this class', 'these classes')} differ from each other less than"
            f" {percent(LOW_DIVERSITY, 0)} as much as real ones do, in judge features.",
        )
    copied, by_chance = numbers["memorised_share"], numbers["memorised_share_real"]
    if copied > by_chance + MEMORISED:
        yield Note(
            True,
            f"{percent(copied)} of the synthetic images are much closer to one training image of the denoiser than to"
            f" the next ones, against {percent(by_chance)} of test images, which cannot be copies: it has memorised.",
        )
    unseen = (quality["class_agreement"] < LOW_AGREEMENT) & (quality["class_agreement_real"] >= WEAK_JUDGE)
    if unseen.any():
        yield Note(
            True,
            f"The judge, which knows real images of {_classes(evidence.class_names, unseen, start=False)}, takes most"
            f" synthetic ones of {_are(unseen.to_numpy(), 'it', 'them')} for another class.",
        )
    known = numbers["class_agreement_real"]
    if known < WEAK_JUDGE:
        yield Note(
            True,
            f"The judge recognises only {percent(known)} of real test images: what it says of synthetic ones is weak.",
        )


def _about_filter(names: Sequence[str], plan: pd.DataFrame, dropped: float, labeler: str) -> Iterator[Note]:
    by_class = plan.groupby("class_id")[["to_generate", "kept"]].sum()
    wanted, kept = by_class["to_generate"].to_numpy(), by_class["kept"].to_numpy()
    lost = (kept == 0) & (wanted > 0)
    if lost.any():
        yield Note(
            True,
            f"The filter dropped every synthetic image of {_classes(names, lost, start=False)}: the {labeler}"
            f" confirms none. Retraining has {_are(lost, 'its', 'their')} real images only.",
        )
    most = sorted(np.flatnonzero(wanted > kept).tolist(), key=lambda class_id: kept[class_id] - wanted[class_id])[:8]
    shares = ", ".join(f"{count(wanted[c] - kept[c])} of {count(wanted[c])} of class {names[c]}" for c in most)
    which = f", {'among them' if (wanted > kept).sum() > len(most) else 'namely'} {shares}" if most else ""
    yield Note(False, f"The filter dropped {count(dropped)} of {count(wanted.sum())} synthetic images{which}.")


def _about_classes(evidence: Evidence, numbers: Mapping[str, float]) -> Iterator[Note]:
    names = evidence.class_names
    known = evidence.training.sum(axis=0) + evidence.precision["selected"].to_numpy() > 0
    if not known.all():
        yield Note(
            True,
            f"{_classes(names, ~known)} had no label and no kept pseudo-label: the denoiser never saw"
            f" {_are(~known, 'it', 'them')}, and nothing was made.",
        )
    before, after = class_accuracy(evidence.confusion_before), class_accuracy(evidence.confusion_after)
    lost = (after == 0) & (before > 0)
    if lost.any():
        yield Note(
            True,
            f"{_classes(names, lost)} {_are(lost)} never recognised after retraining, though"
            f" {_are(lost, 'it was', 'they were')} before.",
        )
    never = (after == 0) & (before == 0)
    if never.any():
        yield Note(True, f"{_classes(names, never)} {_are(never)} never recognised, before or after retraining.")


def _about_clients(evidence: Evidence, numbers: Mapping[str, float]) -> Iterator[Note]:
    without = int((evidence.labeled.sum(axis=1) == 0).sum())
    if without:
        clients = "client has" if without == 1 else "clients have"
        yield Note(
            False,
            f"{without} {clients} no labelled image: the accuracy under a mixture of its own is "
            "undefined and left out.",
        )
    if evidence.moved:
        partition = cast(Partition, evidence.settings["partition"])
        yield Note(
            False,
            f"{evidence.moved:,} images were moved between clients to give each at least"
            f" {partition.min_labeled} labelled and {partition.min_unlabeled} unlabelled ones.",
        )


def _about_method(evidence: Evidence, numbers: Mapping[str, float]) -> Iterator[Note]:
    yield Note(False, "Test accuracy decided nothing: every model is the one of its last round.")
    for name, stage in (("labels-only", "classifier"), ("retrained", "retrain")):
        measured = evidence.histories[stage].dropna(subset=["test_accuracy"])
        if len(measured) and measured["test_accuracy"].max() - measured["test_accuracy"].iloc[-1] > 0.01:
            best = measured.iloc[measured["test_accuracy"].to_numpy().argmax()]
            yield Note(
                False,
                f"The {name} model stood higher earlier ({percent(best['test_accuracy'])} after round "
                f"{best['round']:.0f}); choosing that round would have meant choosing on the test set.",
            )


def samples_for_bound(target: float, confidence_level: float) -> int:
    """Least n for which n correct of n have a lower Wilson bound n / (n + z^2) of at least `target`."""
    z = NormalDist().inv_cdf(confidence_level)
    return ceil(target * z**2 / (1 - target) - 1e-9)


def _are(chosen: np.ndarray, one: str = "is", more: str = "are") -> str:
    return one if chosen.sum() == 1 else more


def _classes(names: Sequence[str], chosen: pd.Series | np.ndarray, start: bool = True, most: int = 8) -> str:
    """“class 3”, “classes 3, 5 and 8”, or “classes 3, 5, … (12 in all)”; a capital starts a sentence."""
    listed = [name for name, is_chosen in zip(names, np.asarray(chosen, dtype=bool), strict=True) if is_chosen]
    word = "class" if len(listed) == 1 else "classes"
    if len(listed) > most:
        text = f"{', '.join(listed[:most])}, … ({len(listed)} in all)"
    else:
        text = " and ".join(filter(None, [", ".join(listed[:-1]), listed[-1]]))
    return f"{word.capitalize() if start else word} {text}"

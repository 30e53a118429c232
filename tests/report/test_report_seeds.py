"""Means and intervals over seeds, by hand."""

import pytest

from fedsyn.report.seeds import mean_and_interval, seed_table


def test_mean_and_student_t_interval_of_three_values():
    """Standard deviation 1, t = 4.3027 with two degrees of freedom, half width 4.3027 / sqrt(3)."""
    assert mean_and_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.4841), abs=1e-4)


def test_one_value_has_no_interval():
    assert mean_and_interval([0.5]) == (0.5, float("inf"))


def test_the_gain_is_paired():
    """Two seeds far apart in accuracy and equal in gain: the gain's interval is zero wide."""
    quality = {"pseudo_label_precision_before": 0.7, "pseudo_label_precision": 0.9, "coverage": 0.5}
    quality |= {"self_training_accuracy": 0.55, "all_labels_accuracy": 0.6, "central_accuracy": float("nan")}
    reports = {
        0: {"labels_only_accuracy": 0.5, "retrained_accuracy": 0.6, "gain": 0.1, **quality},
        1: {"labels_only_accuracy": 0.8, "retrained_accuracy": 0.9, "gain": 0.1, **quality},
    }
    table = seed_table(reports)
    assert table["seed 0"] == "50.00% -> 60.00%"
    assert table["gain (points)"] == "10.00 ± 0.00"
    assert table["retrained accuracy"].startswith("75.00 ± 190.")
    assert not {"same labels in one place", "synthetic images, memorised"} & table.keys()  # nobody asked for them


def test_images_are_summed_up_where_they_were_judged():
    names = ("labels_only_accuracy", "retrained_accuracy", "gain", "self_training_accuracy", "all_labels_accuracy")
    names += ("central_accuracy", "pseudo_label_precision_before", "pseudo_label_precision", "coverage")
    reports = {seed: dict.fromkeys(names, 0.5) | {"class_agreement": 0.8} for seed in (0, 1)}
    assert seed_table(reports)["synthetic images, recognised by the judge"] == "80.00 ± 0.00"

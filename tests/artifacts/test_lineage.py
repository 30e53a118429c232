"""In what two artifacts differ, and which is nearest: small graphs that a person can check."""

from fedsyn.artifacts.lineage import Ancestry, Difference, Identity


def identity(stage: str, key: str, config: dict, inputs: dict | None = None, version: int = 1) -> Identity:
    return Identity(stage, key, version, config, inputs or {}, None)


PARTITION = identity("partition", "p1", {"seed": 0, "partition": {"alpha": 0.1, "num_clients": 10}})
OTHER_PARTITION = identity("partition", "p2", {"seed": 0, "partition": {"alpha": 0.5, "num_clients": 10}})
CLASSIFIER = identity("classifier", "c1", {"seed": 0, "classifier": {"rounds": 40}}, {"partition": "p1"})
SHORTER = identity("classifier", "c2", {"seed": 0, "classifier": {"rounds": 20}}, {"partition": "p1"})
ELSEWHERE = identity("classifier", "c3", {"seed": 0, "classifier": {"rounds": 40}}, {"partition": "p2"})
ANCESTRY = Ancestry([PARTITION, OTHER_PARTITION, CLASSIFIER, SHORTER, ELSEWHERE])


def test_a_difference_is_a_field_with_its_two_values():
    assert ANCESTRY.differences(CLASSIFIER, SHORTER) == [Difference("classifier.rounds", 40, 20)]
    assert str(ANCESTRY.differences(CLASSIFIER, SHORTER)[0]) == "classifier.rounds 40 -> 20"
    assert ANCESTRY.differences(CLASSIFIER, CLASSIFIER) == []


def test_a_difference_in_an_input_is_found_where_it_arises():
    assert ANCESTRY.differences(CLASSIFIER, ELSEWHERE) == [Difference("partition.alpha", 0.1, 0.5)]
    assert ANCESTRY.differences(SHORTER, ELSEWHERE) == [
        Difference("partition.alpha", 0.1, 0.5),
        Difference("classifier.rounds", 20, 40),
    ]


def test_inputs_that_are_left_out_are_not_looked_into():
    assert ANCESTRY.differences(SHORTER, ELSEWHERE, without=["partition"]) == [Difference("classifier.rounds", 20, 40)]


def test_an_input_of_which_nothing_is_known_is_named_by_its_key():
    orphan = identity("classifier", "c4", CLASSIFIER.config, {"partition": "p9"})
    assert ANCESTRY.differences(CLASSIFIER, orphan) == [Difference("input partition", "p1", "p9")]


def test_an_input_that_another_stage_has_made_is_named_with_it():
    """Labels of the first cycle, and of the second, whose classifier is a retrained one."""
    retrained = identity("retrain", "r1", {"seed": 0, "retrain": {"warm_start": False}}, {"classifier": "c1"})
    first = identity("pseudo_labels", "l1", {"seed": 0}, {"partition": "p1", "classifier": "c1"})
    second = identity("pseudo_labels", "l2", {"seed": 0}, {"partition": "p1", "retrain/classifier": "r1"})
    ancestry = Ancestry([PARTITION, CLASSIFIER, retrained, first, second])
    assert ancestry.differences(first, second) == [Difference("input classifier", "classifier/c1", "retrain/r1")]
    assert ancestry.differences(first, second, without=["classifier"]) == []
    assert ancestry.reach("pseudo_labels", "l2") == {
        ("pseudo_labels", "l2"), ("retrain", "r1"), ("classifier", "c1"), ("partition", "p1")
    }  # fmt: skip


def test_another_version_of_a_stage_and_a_field_that_one_lacks_are_differences():
    newer = identity("classifier", "c5", {"seed": 0, "classifier": {"rounds": 40, "width": 8}}, {"partition": "p1"}, 2)
    assert ANCESTRY.differences(CLASSIFIER, newer) == [
        Difference("classifier: stage version", 1, 2),
        Difference("classifier.width", None, 8),
    ]


def test_the_nearest_differs_in_the_fewest_fields_and_inputs():
    wanted = identity("classifier", "c9", {"seed": 0, "classifier": {"rounds": 41}}, {"partition": "p1"})
    assert ANCESTRY.nearest(wanted) in (CLASSIFIER, SHORTER)  # one field each; c3 differs in an input as well
    wanted = identity("classifier", "c9", {"seed": 0, "classifier": {"rounds": 40}}, {"partition": "p9"})
    assert ANCESTRY.nearest(wanted) in (CLASSIFIER, ELSEWHERE)
    assert ANCESTRY.nearest(identity("report", "r", {})) is None


def test_an_artifact_reaches_all_that_it_comes_from():
    assert ANCESTRY.reach("classifier", "c3") == {("classifier", "c3"), ("partition", "p2")}
    assert ANCESTRY.reach("report", "unknown") == {("report", "unknown")}

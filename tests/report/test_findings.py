import numpy as np

from headstart.metrics import wilson_interval
from headstart.report.findings import Confusion, find_classes, find_confusions, find_mistakes

NAMES = ["ant", "bee", "cow", "dog"]
#                    ant bee cow dog
MATRIX = np.array([[6, 2, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0], [0, 3, 0, 1]])


def test_classes_come_lowest_first_and_absent_ones_last() -> None:
    findings = find_classes(MATRIX, NAMES)
    assert [each.name for each in findings] == ["dog", "ant", "bee", "cow"]  # ant before bee: more images
    dog, *_, cow = findings
    assert (dog.correct, dog.n, dog.recall, dog.precision) == (1, 4, 0.25, 1.0)
    assert dog.interval == wilson_interval(1, 4)
    assert (cow.n, cow.recall, cow.interval, cow.precision, cow.f1) == (0, None, None, None, None)


def test_confusions_come_most_frequent_first() -> None:
    assert find_confusions(MATRIX, NAMES, limit=2) == [
        Confusion(true="dog", predicted="bee", count=3, n=4),
        Confusion(true="ant", predicted="bee", count=2, n=8),
    ]
    assert len(find_confusions(MATRIX, NAMES, limit=10)) == 3  # pairs that never occur are no confusions


def test_no_confusions_in_a_perfect_matrix() -> None:
    assert find_confusions(np.diag([3, 4]), ["a", "b"], limit=10) == []


def test_mistakes_come_surest_first() -> None:
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.95, 0.05]])
    labels = np.array([0, 1, 0, 1])
    mistakes = find_mistakes(["a", "b", "c", "d"], labels, p, ["x", "y"], limit=2)
    assert [(each.path, each.true, each.predicted, each.probability) for each in mistakes] == [
        ("d", "y", "x", 0.95),
        ("b", "y", "x", 0.8),
    ]

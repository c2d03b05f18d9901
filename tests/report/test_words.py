import numpy as np
import pytest

from headstart import metrics
from headstart.metrics import score_predictions
from headstart.report.findings import find_classes, find_confusions
from headstart.report.words import breakable, duration, facts, percent, power_of_ten, reliability, verdict


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def verdict_of(matrix: list[list[int]]) -> str:
    counts, names = np.array(matrix), ["daisy", "rose", "tulip"][: len(matrix)]
    true, said = (np.repeat(each, counts.ravel()) for each in np.indices(counts.shape).reshape(2, -1))
    test = score_predictions(np.eye(len(names))[said], true).to_dict()
    return plain(
        " ".join(verdict(test, find_classes(counts, names), find_confusions(counts, names, limit=10)))
    )


def test_verdict() -> None:
    assert verdict_of([[62, 3, 0], [2, 55, 3], [1, 19, 55]]) == (
        "This classifier gets 86.0 % of 200 test images right (95 % interval 80.5 to 90.1 %; "
        "sampling of the test set only). Always giving the same answer, “tulip”, would get 37.5 %. "
        "It does worst on “tulip”, with 55 of 75 right. "
        "What it most often confuses: 19 of 75 images of “tulip” are taken for “rose”."
    )


def test_verdict_without_mistakes() -> None:
    assert verdict_of([[5, 0], [0, 5]]).endswith("It makes no mistake on them.")


def test_verdict_without_a_pattern() -> None:
    assert verdict_of([[5, 1], [1, 5]]).endswith("No class is taken for the same other class more than once.")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.1234, "0.12 s"), (9.999, "10.00 s"), (21.34, "21.3 s")),
        *((120, "2 min 0 s"), (3599.6, "1 h 0 min"), (7322, "2 h 2 min")),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers() -> None:
    assert plain(percent(0.86)) == "86.0 %"
    assert plain(percent(1, 0)) == "100 %"
    assert power_of_ten(1e-12) == "10⁻¹²"
    assert power_of_ten(1.0) == "10⁰"


def test_facts_are_flat_text() -> None:
    values = {"a": {"b": 0.1 + 0.2, "c": None}, "d": True, "e": [224, 224], "f": "x", "g": 3}
    assert facts(values) == [
        ("a.b", "0.3"),
        ("a.c", "none"),
        ("d", "yes"),
        ("e", "[224, 224]"),
        ("f", "x"),
        ("g", "3"),
    ]


def test_breakable_escapes() -> None:
    assert breakable("a_b/<i>.jpg") == "a_<wbr>b/<wbr>&lt;i&gt;.jpg"


def test_reliability_in_words() -> None:
    p, labels = np.array([[0.9, 0.1]] * 10), np.array([0] * 8 + [1] * 2)
    whole, apart = (
        text.replace("\N{NO-BREAK SPACE}", " ") for text in reliability(metrics.reliability(p, labels), 0.1)
    )
    assert whole.endswith(
        "answer 90.0 %, and is right 80.0 % of the time: on the whole too sure, by 10.0 points."
    )
    assert "10.0 points apart" in apart
    modest, _ = reliability(metrics.reliability(p, np.zeros(10, dtype=np.int64)), 0.1)
    assert "too modest, by 10.0 points" in modest
    same, _ = reliability(metrics.reliability(p, np.array([0] * 9 + [1])), 0.0)
    assert same.endswith("as often as it says.")

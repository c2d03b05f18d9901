"""The page of an audit: what it says and shows, and that nothing in it can do harm."""

from collections.abc import Mapping, Sequence

from headstart.audit import Audit, Finding, Leaks
from headstart.report.audit_page import render_audit, verdict


def _audit(findings: Sequence[Finding] = (), leaks: Leaks | None = None) -> Audit:
    return Audit(
        name="<b>photos",
        classes=("a", "b"),
        counts={"train": 8, "val": 2, "test": 2},
        rule="as given",
        findings=tuple(findings),
        leaks=leaks,
        labels_judged=12,
        out_of_fold=0.75,
        wrong_labels=1,
        pattern=None,
    )


def _thumbnails(names: Sequence[str]) -> Mapping[str, bytes]:
    return dict.fromkeys(names, b"jpeg")


def _copy(rank: int, path: str, other: str, group: int) -> Finding:
    return Finding(
        kind="duplicate-across",
        rank=rank,
        path=path,
        other=other,
        class_name="a",
        split="test",
        group=group,
        score=0.9,
    )


def test_nothing_found_is_never_called_clean() -> None:
    page = render_audit(_audit(leaks=Leaks(test=2, copies=0, grouped=None, leaking=0)), _thumbnails)

    assert page.count("None found at this threshold.") == 5
    assert "No test image that training has seen was found at this threshold." in page
    assert "clean" not in page


def test_copies_of_one_image_stand_side_by_side() -> None:
    findings = [_copy(1, "t/1", "r/1", 1), _copy(2, "t/2", "r/2", 2), _copy(3, "t/3", "r/1", 1)]

    page = render_audit(_audit(findings), _thumbnails)

    assert "3 photos: detail 0.90" in page
    assert "2 photos: detail 0.90" in page
    assert page.count("<img ") == 5


def test_no_more_than_asked_for_are_shown_and_drawn() -> None:
    labels = [
        Finding(kind="label", rank=rank, path=f"p{rank}", class_name="a", suggested="b", split="train")
        for rank in range(1, 9)
    ]
    asked: list[str] = []

    def thumbnails(names: Sequence[str]) -> Mapping[str, bytes]:
        asked.extend(names)
        return {}

    page = render_audit(_audit(labels), thumbnails, most=3)

    assert asked == ["p1", "p2", "p3"]
    assert "The first 3 of 8 photos are shown" in page
    assert page.count("photo not available") == 3


def test_names_are_text_and_stay_so() -> None:
    hostile = "<script>x</script>\udcff.jpg"

    page = render_audit(_audit([_copy(1, hostile, "r/1", 1)]), _thumbnails)

    assert "<script" not in page
    assert "<b>photos" not in page
    page.encode("utf-8")


def test_the_verdict_says_how_many_leak_and_whether_that_is_many() -> None:
    few = verdict(_audit(leaks=Leaks(test=100, copies=2, grouped=None, leaking=2)))[0]
    many = verdict(_audit(leaks=Leaks(test=100, copies=2, grouped=60, leaking=61)))[0]

    assert few.startswith("2 of 100 test images")
    assert "are copies of" in few
    assert "asks for what training has shown" not in few
    assert many.startswith("61 of 100 test images")
    assert "asks for what training has shown" in many

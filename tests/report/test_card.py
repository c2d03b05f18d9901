from pathlib import Path

from headstart.report import render_card


def test_card_has_the_verdict_and_escapes_names(make_record, tmp_path: Path) -> None:
    result = {**make_record().result, "technique": "probe", "backbone": {"name": "<net>"}}
    html = render_card("<script>alert(1)</script>", result, tmp_path / "a b" / "report.html")
    assert "of 24 test images right" in html
    assert "&lt;script&gt;alert(1)" in html
    assert "&lt;net&gt;" in html
    assert "<script" not in html
    assert f'href="{(tmp_path / "a b" / "report.html").as_uri()}"' in html

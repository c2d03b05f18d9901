import re

import plotly.graph_objects as go
import pytest

from headstart.report import render_comparison
from headstart.report.comparison_page import curves_chart, time_chart

HOSTILE = "<script>alert('x')</script>\"'&"


def text_of(html: str) -> str:
    """What is read: without head, scripts and tags."""
    body = re.sub("<script.*?</script>", "", html[html.index("<body>") :], flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", body)).replace("\N{NO-BREAK SPACE}", " ")


def test_verdict_comes_first_then_the_leaderboard(make_comparison) -> None:
    text = text_of(render_comparison(make_comparison()))
    places = [
        text.index(words)
        for words in ("net 0 is the most accurate", "It ties with net 1", "90.0 % (80.0 to 95.0)")
    ]
    assert places == sorted(places)


def test_cells_are_written_by_kind_and_sorted_by_value(make_comparison) -> None:
    row = {"accuracy": 0.5, "seconds": 200.0, "loss": 1.5, "parameters": 1234567}
    html = render_comparison(make_comparison(rows=[row]))
    written = ("50.0\N{NO-BREAK SPACE}%", "3 min 20 s", "1.500", "1,234,567")
    for value, text in zip(row.values(), written, strict=True):
        assert f'<td data-value="{value}">{text}</td>' in html
    assert '<th scope="row" data-value="">–</th>' in html  # what is unknown
    assert 'data-first="descending">Accuracy' in html
    assert 'data-first="ascending">Seconds' in html


def test_references_say_why_they_cannot_be_compared(make_comparison) -> None:
    text = text_of(render_comparison(make_comparison()))
    assert re.search("A paper Not comparable , because: another backbone", text)
    assert re.search("A program Ours is 1.2 points higher", text)
    assert text.count("Not comparable") == 1


def test_failures_and_command(make_comparison) -> None:
    text = text_of(render_comparison(make_comparison()))
    assert "1 run did not finish" in text
    assert "the disk is full" in text
    assert "headstart compare pets scenes" in text


def test_what_is_not_there_has_no_section(make_comparison) -> None:
    html = render_comparison(make_comparison(failures=[], references=[], histories={}, rows=[], verdict=[]))
    assert re.findall('<section id="([^"]*)"', html) == ["verdict", "leaderboard", "again"]
    assert "No run has finished yet." in html
    assert 'id="chart-library"' not in html
    assert len(html) < 40_000


def test_hostile_names_are_text(make_comparison) -> None:
    record = make_comparison()
    rows = [
        {key: HOSTILE if isinstance(value, str) else value for key, value in row.items()}
        for row in record.rows
    ]
    html = render_comparison(
        make_comparison(
            title=HOSTILE,
            verdict=[HOSTILE],
            rows=rows,
            failures=[(HOSTILE, HOSTILE)],
            command=HOSTILE,
            histories={HOSTILE: record.histories["runs/0"]},
        )
    )
    assert html.count("<script") == 3
    assert "&lt;script&gt;alert(&#39;x&#39;)" in html


def test_pictures_are_known_to_plotly_and_hold_every_row(make_comparison) -> None:
    rows = make_comparison(8).rows
    chart = time_chart(rows, "pets", {f"net {i}": "#123456" for i in range(9)})
    figure = go.Figure(**chart.figure())
    assert sorted(x for trace in figure.data for x in trace.x) == sorted(row["seconds"] for row in rows)
    assert figure.data[0].error_y.array[0] == pytest.approx(0.05)
    assert "Most accurate: net 0 probe, 90.0" in chart.alt
    assert "Fastest: net 3 probe" in chart.alt


def test_curves_count_phases_through_and_name_few(make_epochs) -> None:
    two_phases = [*make_epochs(2, "probe"), *make_epochs(3)]
    figure = go.Figure(**curves_chart({"a": two_phases, "b": make_epochs(3, validated=False)}).figure())
    assert figure.data[0].x == (1, 2, 3, 4, 5)
    assert [trace.line.dash for trace in figure.data] == ["solid", "dash"]
    assert figure.layout.showlegend
    assert not curves_chart({str(i): two_phases for i in range(50)}).layout["showlegend"]


def test_fifty_runs_make_a_small_page(make_comparison, make_epochs) -> None:
    record = make_comparison(50)
    html = render_comparison(
        make_comparison(50, histories={row["run"]: make_epochs(100) for row in record.rows})
    )
    assert len(html.encode()) < 5_000_000

import base64
import gzip
import hashlib
import json
import re

from plotly.offline import get_plotlyjs

from headstart.report import render_report
from headstart.report.assets import chart_library

HOSTILE = "</script><script>alert(1)</script><!--"


def test_the_library_is_plotly_unchanged() -> None:
    assert gzip.decompress(base64.b64decode(chart_library())).decode() == get_plotlyjs()
    assert chart_library() == chart_library()


def test_the_policy_admits_our_scripts_alone(make_record, thumbnails) -> None:
    html = render_report(make_record(), thumbnails).html
    policy = re.search('Content-Security-Policy" content="([^"]*)"', html)[1].replace("&#39;", "'")
    script = re.search("<script>(.*?)</script>", html, re.DOTALL)[1]
    hashes = {
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, get_plotlyjs())
    }
    assert set(re.findall("'sha256-([^']*)'", policy)) == hashes
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe-eval" not in policy
    assert "script-src 'sha256-" in policy


def test_data_cannot_end_its_script(make_record, thumbnails) -> None:
    record = make_record(classes=[HOSTILE, "b", "c"], paths=[f"{HOSTILE}{i}" for i in range(24)])
    html = render_report(record, thumbnails).html
    data = json.loads(re.search('id="page-data">(.*?)</script>', html, re.DOTALL)[1])
    assert data["classes"][0] == HOSTILE
    assert data["images"][3][0] == f"{HOSTILE}3"
    assert html.count("<script") == 3

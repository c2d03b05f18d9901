import dataclasses
import io
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from headstart.audit import Audit
from headstart.errors import DataError
from headstart.report import Explained, Learning, render_report
from headstart.report.page import MOST_MISTAKES

HOSTILE = "<script>alert('x')</script>\"'&{{ 7*7 }}"


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements[-1:] and self.elements[-1][0] not in ("script", "style"):
            self.text += data

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag in tags]


@pytest.fixture(scope="module")
def page(make_record, thumbnails) -> Page:
    return Page(render_report(make_record(), thumbnails).html)


def test_figures_are_png(make_record, thumbnails) -> None:
    figures = render_report(make_record(), thumbnails).figures
    assert set(figures) == {
        *("confusion_matrix.png", "per_class_accuracy.png", "regularisation_path.png", "mistakes.png")
    }
    assert all(Image.open(io.BytesIO(image)).format == "PNG" for image in figures.values())


def test_nothing_is_fetched_and_only_our_own_scripts_run(page: Page) -> None:
    assert not page.all("link", "iframe", "object", "embed", "base", "form")
    assert [each.get("type") for each in page.all("script")] == ["application/json", "application/gzip", None]
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href", "xlink:href", "srcset", "poster"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/"))


def test_css_fetches_nothing(make_record, thumbnails) -> None:
    style = re.search("<style>(.*?)</style>", render_report(make_record(), thumbnails).html, re.DOTALL)[1]
    assert "@import" not in style
    assert "url(" not in style


def test_headings_descend_one_level_at_a_time(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_ids_are_unique_and_links_arrive(page: Page) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert max(ids.values()) == 1
    for link in page.all("a", "use"):
        assert (link.get("href") or link["xlink:href"])[1:] in ids
    for _, attributes in page.elements:
        assert attributes.get("aria-labelledby", next(iter(ids))) in ids


def charts_of(page: Page) -> dict[str, dict[str, str | None]]:
    """The places of charts, by name."""
    return {each["data-chart"]: each for each in page.all("div") if "data-chart" in each}


def test_pictures_have_words(page: Page) -> None:
    assert page.all("img")
    assert all("that was taken for class" in image["alt"] for image in page.all("img"))
    assert set(charts_of(page)) == {"classes", "reliability", "path"}
    for chart in charts_of(page).values():
        assert chart["role"] == "img"
        assert len(chart["aria-label"]) > 40
        assert chart["aria-label"] in page.text  # what is read where no chart can be drawn


def test_key_numbers(make_record, thumbnails) -> None:
    record = make_record()
    test = {
        **record.result["test"],
        **{"accuracy": 0.8125, "accuracy_ci95": [0.7, 0.9]},
        **{"macro_f1": 0.777, "log_loss": 0.654, "ece": 0.0321},
    }
    result = {**record.result, "test": test}
    text = Page(render_report(dataclasses.replace(record, result=result), thumbnails).html).text
    for number in ("81.2 %", "70.0–90.0 %", "0.777", "0.654", "3.2 %", "99.0 %", "1.099"):
        assert number in text.replace("\N{NO-BREAK SPACE}", " ")
    assert test["interval"] in text


def test_without_validation_path_and_mistakes(make_record, thumbnails) -> None:
    record = make_record(path=[], probabilities=np.repeat(np.eye(3), 8, axis=0))
    report = render_report(
        dataclasses.replace(record, result={**record.result, "validation": None}), thumbnails
    )
    assert set(report.figures) == {"confusion_matrix.png", "per_class_accuracy.png"}
    text = Page(report.html).text
    assert "There was no validation" in text
    assert "every test image was classified right" in text


def test_training_has_a_section_and_a_chart_for_each_phase(make_record, make_epochs, thumbnails) -> None:
    history = [*make_epochs(4, "probe"), *make_epochs(10, "finetune")]
    config = {"data": "photos", "backbone": "timm/squeezenet"}
    report = render_report(
        make_record(history=history, best_epoch={"probe": 3, "finetune": 7}, config=config), thumbnails
    )
    assert {"fextract_plot_squeezenet.png", "finetune_plot_squeezenet.png"} < set(report.figures)
    page = Page(report.html)
    assert "#training" in [link["href"] for link in page.all("a")]
    described = [each["aria-label"] for name, each in charts_of(page).items() if name.startswith("curves-")]
    assert len(described) == 2
    assert sum("4 epochs" in words and "Kept was epoch 3" in words for words in described) == 1
    assert sum("10 epochs" in words and "Kept was epoch 7" in words for words in described) == 1
    assert "kept: epoch 7" in report.html
    assert "running means over the epoch" in page.text
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert max(ids.values()) == 1


def test_training_without_validation(make_record, make_epochs, thumbnails) -> None:
    record = make_record(history=make_epochs(3, "probe", validated=False))
    page = Page(render_report(record, thumbnails).html)
    assert "Nothing was validated." in page.text
    assert "behind the validation figures" not in page.text
    assert "curves-probe" in charts_of(page)


def test_a_network_that_was_trained_anew_is_said_to_be_kept(make_record, make_epochs, thumbnails) -> None:
    history, words = make_epochs(3, "finetune"), "Then a fresh network was trained on all 90 images"
    judged = make_record(history=history)
    choice = {**judged.result["choice"], "refit": "on all 90 images"}
    anew = make_record(history=history, result={**judged.result, "choice": choice})

    assert words in Page(render_report(anew, thumbnails).html).text
    assert words not in Page(render_report(judged, thumbnails).html).text


def test_no_training_no_section(page: Page) -> None:
    assert "#training" not in [link["href"] for link in page.all("a")]
    assert "running means" not in page.text


def test_hostile_names_are_text(make_record, make_epochs, thumbnails) -> None:
    record = make_record(
        name=HOSTILE,
        classes=[HOSTILE, f"{HOSTILE}2", f"{HOSTILE}3"],
        paths=[f"{HOSTILE}/{i}" for i in range(24)],
        problems=[(HOSTILE, HOSTILE)],
        config={HOSTILE: HOSTILE, "backbone": HOSTILE},
        history=make_epochs(2),
        command=HOSTILE,
    )
    result = {**record.result, "warnings": [HOSTILE], "environment": {HOSTILE: {HOSTILE: HOSTILE}}}
    result |= {"choice": {"rule": HOSTILE, "strength": 1e-3}}
    page = Page(render_report(dataclasses.replace(record, result=result), thumbnails).html)
    assert len(page.all("script")) == 3
    assert HOSTILE in page.text
    assert all(image["alt"].count(HOSTILE) == 2 for image in page.all("img"))


def test_paths_that_are_no_utf8(make_record, thumbnails) -> None:
    html = render_report(make_record(problems=[("caf\udce9.jpg", "empty")]), thumbnails).html
    assert "caf\N{REPLACEMENT CHARACTER}.jpg" in html.encode("utf-8").decode("utf-8")


def test_problems_are_counted_and_cut(make_record, thumbnails) -> None:
    problems = [(f"broken {i}.jpg", "truncated") for i in range(30)]
    text = Page(render_report(make_record(problems=problems), thumbnails).html).text
    assert "30 files were left out" in text
    assert "The first 20 are shown" in text
    assert "broken 19.jpg" in text
    assert "broken 20.jpg" not in text


def test_warnings_stand_before_the_numbers(make_record, thumbnails) -> None:
    record = make_record()
    result = {**record.result, "warnings": ["2 images stand in both train and test."]}
    text = Page(render_report(dataclasses.replace(record, result=result), thumbnails).html).text
    assert 0 < text.index("2 images stand in both") < text.index("Balanced accuracy")


def test_mistakes_are_asked_for_large_and_all_images_small(make_record, thumbnails) -> None:
    calls: list[tuple[list[str], int]] = []

    def ask(paths: Sequence[str], side: int) -> dict[str, bytes]:
        calls.append((list(paths), side))
        return thumbnails(paths[1:], side)

    record = make_record(k=10, per_class=20)
    page = Page(render_report(record, ask).html)
    (mistakes, large), (all_images, small) = calls
    assert len(mistakes) == len(set(mistakes)) == MOST_MISTAKES
    assert sorted(all_images) == sorted(record.paths)
    assert large > small
    assert len(page.all("img")) == MOST_MISTAKES - 1
    assert page.text.count("photo not available") == 1
    assert "199 of 200 test images have a thumbnail" in page.text
    wrong = record.probabilities.argmax(axis=1) != record.labels
    assert set(mistakes) <= {path for path, each in zip(record.paths, wrong, strict=True) if each}


def test_every_cell_of_the_matrix_counts_its_images(make_record, thumbnails) -> None:
    record = make_record(k=7, per_class=9)
    page = Page(render_report(record, thumbnails).html)
    pairs = Counter(zip(record.labels.tolist(), record.probabilities.argmax(axis=1).tolist(), strict=True))
    cells = {each["data-cell"]: each["aria-label"] for each in page.all("button")}
    assert cells == {
        f"{i},{j}": f"{count} of class {i} taken for class {j}" for (i, j), count in pairs.items()
    }


def test_a_matrix_of_many_classes_is_a_chart(make_record, thumbnails) -> None:
    page = Page(render_report(make_record(k=61, per_class=2), thumbnails).html)
    assert "matrix" in charts_of(page)
    assert not [each for each in page.all("button") if "data-cell" in each]
    assert [each for each in page.all("td") if "data-opens" in each]


def test_a_map_where_there_are_features(make_record, thumbnails) -> None:
    record = make_record(features=np.random.default_rng(0).normal(size=(24, 10)).astype(np.float32))
    page = Page(render_report(record, thumbnails).html)
    assert charts_of(page)["map"]["tabindex"] == "0"
    assert "24 test images by t-SNE" in charts_of(page)["map"]["aria-label"]
    assert "PCA" in charts_of(Page(render_report(record, thumbnails, most_tsne=23).html))["map"]["aria-label"]
    with pytest.raises(DataError, match="24 test images need as many features; got 3"):
        make_record(features=np.zeros((3, 4), np.float32))


def test_where_it_looks(make_record, thumbnails) -> None:
    photo = thumbnails(["x"], 64)["x"]
    seen = Explained(path="p.jpg", true="a", predicted="b", probability=0.9, photo=photo, overlay=photo)
    page = Page(render_report(make_record(explained=[seen]), thumbnails).html)
    assert "#explained" in [link["href"] for link in page.all("a")]
    assert len([image for image in page.all("img") if "heat map of what speaks for b" in image["alt"]]) == 1


def test_suspects_and_what_more_photos_bring(
    make_record, thumbnails, audit: Audit, learning: Learning
) -> None:
    page = Page(render_report(make_record(), thumbnails).html)
    assert not {"#suspects", "#learning"} & {link["href"] for link in page.all("a")}

    page = Page(render_report(make_record(audit=audit, learning=learning), thumbnails).html)

    assert {"#suspects", "#learning"} <= {link["href"] for link in page.all("a")}
    assert "2 of 20 test images (10.0 %) are copies of images of other splits" in page.text.replace(
        "\xa0", " "
    )
    assert "3 photos: detail 0.90" in page.text
    shown = [image["alt"] for image in page.all("img")]
    assert shown.count("Photo: called a (0.0\xa0%) · train") == 3
    assert shown.count("Photo: b · val") == 1
    assert "More would bring more." in page.text
    assert charts_of(page)["learning"]["aria-label"].startswith("Learning curve: 52.0\xa0% right with 30 ")


def test_absent_class(make_record, thumbnails) -> None:
    record = make_record()
    labels = np.where(record.labels == 2, 0, record.labels)
    text = Page(render_report(dataclasses.replace(record, labels=labels), thumbnails).html).text
    assert "no images" in text
    assert "nan" not in text


def test_same_record_same_bytes(make_record, thumbnails) -> None:
    assert render_report(make_record(), thumbnails) == render_report(make_record(), thumbnails)


def test_size(make_record, thumbnails) -> None:
    html = render_report(make_record(k=40, per_class=5), thumbnails).html
    assert len(html.encode()) < 3_000_000


def test_a_path_over_neighbours_is_told_in_its_own_words(make_record, thumbnails) -> None:
    record = make_record()
    rows = [{"neighbours": k, **row} for k, row in zip((50, 20, 10, 5, 2, 1), record.path, strict=True)]
    for row in rows:
        del row["strength"]
    choice = {"rule": "by validation", "neighbours": 10, "temperature": 0.7}

    report = render_report(make_record(path=rows, result={**record.result, "choice": choice}), thumbnails)

    assert "Loss and accuracy at 6 numbers of neighbours; 10 was chosen." in report.html
    assert "regularisation_path.png" in report.figures

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from headstart.backbones import Backbone
from headstart.features import extract_views
from headstart.features.stream import in_batches, in_order, stream_features
from headstart.runtimes import load_runtime
from headstart.threads import usable_cores
from headstart.views import SIX


@pytest.mark.parametrize("window", [1, 2, 7])
def test_results_come_in_order_and_never_further_ahead_than_the_window(window: int) -> None:
    taken = ahead = 0

    def source() -> Iterator[int]:
        nonlocal ahead
        for i in range(40):
            ahead = max(ahead, i + 1 - taken)
            yield i

    def slow(i: int) -> int:
        time.sleep(random.Random(i).uniform(0, 0.003))
        return i * i

    results = []
    with ThreadPoolExecutor(4) as pool:
        for result in in_order(pool, slow, source(), window=window):
            taken += 1
            results.append(result)
    assert results == [i * i for i in range(40)]
    assert ahead <= window


def test_an_error_comes_out_where_its_result_would_have_been() -> None:
    def fail_at_three(i: int) -> int:
        if i == 3:
            raise ValueError("three")
        return i

    with ThreadPoolExecutor(2) as pool:
        results = in_order(pool, fail_at_three, range(10), window=4)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="three"):
            next(results)


@pytest.mark.parametrize(("n", "sizes"), [(0, []), (3, [3]), (4, [4]), (9, [4, 4, 1])])
def test_batches_are_full_but_for_the_last(n: int, sizes: list[int]) -> None:
    batches = list(in_batches(range(n), 4))
    assert [len(batch) for batch in batches] == sizes
    assert [item for batch in batches for item in batch] == list(range(n))


def test_there_is_a_core() -> None:
    assert usable_cores() >= 1


def test_streamed_features_keep_the_order_and_say_why_not(
    photo_folder: Path, tiny_backbone: Backbone
) -> None:
    paths = [str(path) for path in sorted(photo_folder.glob("*/*.jpg"))]
    broken = photo_folder / "broken.jpg"
    broken.write_text("no image")
    paths.insert(5, str(broken))
    runtime = load_runtime(tiny_backbone.split(tiny_backbone.cut("pooled"))[0], tiny_backbone.preprocess)
    threads = threading.active_count()
    got = list(stream_features(paths, runtime, tiny_backbone.preprocess))
    assert threading.active_count() == threads
    assert [path for path, _, _ in got] == paths
    assert [i for i, (_, row, _) in enumerate(got) if row is None] == [5]
    assert got[5][2] == "not an image (text)"
    assert got[0][1] is not None
    assert got[0][1].shape == (1, *tiny_backbone.cut("pooled").shape)
    again = list(stream_features(paths[::-1], runtime, tiny_backbone.preprocess))[::-1]
    for (_, row, _), (_, other, _) in zip(got, again, strict=True):
        assert (row is None) is (other is None)
        assert row is None or np.array_equal(row, other)


def test_streamed_views_are_those_of_an_extraction(photo_folder: Path, tiny_backbone: Backbone) -> None:
    paths = [str(path) for path in sorted(photo_folder.glob("*/*.jpg"))[:7]]
    broken = photo_folder / "broken.jpg"
    broken.write_text("no image")
    stored = extract_views(paths, tiny_backbone, SIX, layer="pooled", seed=4)
    runtime = load_runtime(tiny_backbone.split(tiny_backbone.cut("pooled"))[0], tiny_backbone.preprocess)

    got = list(stream_features([*paths, str(broken)], runtime, tiny_backbone.preprocess, views=SIX, seed=4))

    assert got.pop()[1:] == (None, "not an image (text)")
    expected = np.stack([view.features.load() for view in stored], axis=1)
    np.testing.assert_array_equal(np.stack([row for _, row, _ in got if row is not None]), expected)

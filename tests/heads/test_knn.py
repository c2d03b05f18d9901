"""The nearest-neighbours head against brute force and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from headstart.errors import ConfigError, DataError
from headstart.heads import KnnHead, default_neighbours, fit_knn_path

K = 4


def clouds(n: int, *, seed: int = 0, width: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(K, width, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(n) % K
    return centres[labels] + 1.5 * torch.randn(n, width, generator=generator), labels


def brute_force(
    bank: Tensor, labels: Tensor, queries: Tensor, k: int, *, weights: Tensor | None = None
) -> np.ndarray:
    """The probabilities of the docstring's formulas, image by image."""
    present = sorted(set(labels.tolist()))
    rows = []
    for query in queries.double():
        cosines = [float(query @ each / (query.norm() * each.norm())) for each in bank.double()]
        # By similarity, then by place; of what float32 can tell apart.
        nearest = sorted(range(len(bank)), key=lambda i: (-float(np.float32(cosines[i])), i))[:k]
        votes = np.zeros(K)
        for i in nearest:
            votes[labels[i]] += math.exp(cosines[i] / 0.07) * (1 if weights is None else float(weights[i]))
        p = (k * votes / votes.sum() + 1 / len(present)) / (k + 1)
        rows.append([p[c] if c in present else 0.0 for c in range(K)])
    return np.array(rows)


def probabilities(head: torch.nn.Module, queries: Tensor) -> np.ndarray:
    return head(queries).double().softmax(1).numpy()


@pytest.mark.parametrize("k", [1, 2, 7, 60])
def test_probabilities_are_those_of_brute_force(k: int) -> None:
    (bank, labels), (queries, _) = clouds(60), clouds(25, seed=1)

    head = fit_knn_path(bank, labels, n_classes=K, neighbours=[k]).head(0)

    np.testing.assert_allclose(probabilities(head, queries), brute_force(bank, labels, queries, k), atol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_nearest_one_is_scikit_learns(metric: str) -> None:
    (bank, labels), (queries, _) = clouds(200), clouds(300, seed=1)
    unit = [torch.nn.functional.normalize(each.double()).numpy() for each in (bank, queries)]
    theirs = KNeighborsClassifier(1, metric=metric).fit(unit[0], labels.numpy()).predict(unit[1])

    head = fit_knn_path(bank, labels, n_classes=K, neighbours=[1]).head(0)

    np.testing.assert_array_equal(head(queries).argmax(1).numpy(), theirs)


def test_the_path_holds_the_heads_of_all_numbers_the_most_first() -> None:
    (bank, labels), (queries, _) = clouds(60), clouds(25, seed=1)

    path = fit_knn_path(bank, labels, n_classes=K, neighbours=[2, 50, 10])

    assert path.values == (50, 10, 2)
    assert all(isinstance(value, int) for value in path.values)
    for index, k in enumerate(path.values):
        alone = fit_knn_path(bank, labels, n_classes=K, neighbours=[k]).head(0)
        assert torch.equal(path.logits(queries)[index], alone(queries))
        assert torch.equal(path.logits(queries)[index], path.head(index)(queries))


def test_the_heads_of_a_path_share_what_they_store() -> None:
    bank, labels = clouds(60)
    path = fit_knn_path(bank, labels, n_classes=K, neighbours=[5, 2])
    first, second = (path.head(index).state_dict() for index in range(2))
    assert sorted(first) == ["features", "labels", "weights"]
    assert all(first[name].data_ptr() == second[name].data_ptr() for name in first)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_of_equally_similar_images_the_first_are_taken(k: int) -> None:
    one, other = clouds(2)[0]
    bank = torch.stack([other, one, one * 4, one, one])
    labels = torch.tensor([0, 3, 1, 2, 1])

    head = fit_knn_path(bank, labels, n_classes=K, neighbours=[k]).head(0)

    p = probabilities(head, one[None])[0]
    voted = {1: [3], 2: [1, 3], 3: [1, 2, 3]}[k]
    expected = np.array([(c in voted) + 1 / K for c in range(K)]) / (k + 1)
    np.testing.assert_allclose(p, expected, atol=1e-6)


def test_identical_images_are_equally_near_wherever_they_stand() -> None:
    (bank, _), width = clouds(301, width=130), 130
    queries = torch.randn(40, width, generator=torch.Generator().manual_seed(3))
    copies = torch.cat([bank, bank, bank])  # the last places of a product are often computed in another way
    labels = torch.arange(3).repeat_interleave(301)

    head = fit_knn_path(copies, labels, n_classes=K, neighbours=[1]).head(0)

    assert bool((head(queries).argmax(1) == 0).all())


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    (bank, labels), (queries, _) = clouds(60), clouds(25, seed=1)
    path = fit_knn_path(bank, labels, n_classes=K, neighbours=[5, 2])
    whole, single = path.logits(queries), torch.cat([path.logits(each[None]) for each in queries], dim=1)
    monkeypatch.setattr("headstart.heads.knn._BLOCK_SIMILARITIES", 60 * 7)
    monkeypatch.setattr("headstart.heads.knn._BLOCK_VALUES", 20 * 11)
    torch.testing.assert_close(path.logits(queries), whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(single, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 5.0])
def test_every_class_is_possible_but_one_without_images(temperature: float) -> None:
    bank, labels = clouds(40)
    kept = labels != 2

    head = fit_knn_path(bank[kept], labels[kept], n_classes=K, neighbours=[3]).head(
        0, temperature=temperature
    )

    p, logits = probabilities(head, bank), head(bank)
    assert p[:, [0, 1, 3]].min() > 0
    assert p[:, 2].max() < 1e-12
    assert float(logits.max(1).values.min()) > 0


def test_an_empty_class_changes_nothing_for_the_others() -> None:
    (bank, labels), (queries, _) = clouds(60), clouds(25, seed=1)
    plain = fit_knn_path(bank, labels, n_classes=K, neighbours=[5]).head(0, temperature=0.5)
    gapped = fit_knn_path(bank, labels + (labels > 1), n_classes=K + 1, neighbours=[5]).head(
        0, temperature=0.5
    )
    torch.testing.assert_close(gapped(queries)[:, [0, 1, 3, 4]], plain(queries))


def test_a_temperature_divides_the_logits() -> None:
    (bank, labels), (queries, _) = clouds(60), clouds(25, seed=1)
    path = fit_knn_path(bank, labels, n_classes=K, neighbours=[5])
    torch.testing.assert_close(path.head(0, temperature=2.0)(queries), path.logits(queries)[0] / 2)


def test_weights_are_factors_on_votes_and_0_leaves_out() -> None:
    (bank, labels), (queries, _) = clouds(60), clouds(25, seed=1)
    weights = torch.rand(60, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights[::7] = 0
    head = fit_knn_path(bank, labels, n_classes=K, neighbours=[6], sample_weights=weights).head(0)
    kept = weights > 0
    expected = brute_force(bank[kept], labels[kept], queries, 6, weights=weights[kept])
    np.testing.assert_allclose(probabilities(head, queries), expected, atol=1e-5)
    assert len(head.state_dict()["features"]) == int(kept.sum())


def test_length_counts_for_nothing_and_maps_are_flattened() -> None:
    (bank, labels), (queries, _) = clouds(60), clouds(25, seed=1)
    path = fit_knn_path(bank.unflatten(1, (5, 2, 2)).half(), labels, n_classes=K, neighbours=[5])
    longer = fit_knn_path(bank.half() * 4, labels, n_classes=K, neighbours=[5])
    maps = queries.unflatten(1, (5, 2, 2))
    torch.testing.assert_close(path.head(0)(maps), longer.head(0)(queries * 100))


def test_features_of_zeros_are_similar_to_nothing() -> None:
    bank, labels = clouds(20)
    head = fit_knn_path(
        torch.cat([bank, bank[:1] * 0]), torch.cat([labels, labels[:1]]), n_classes=K, neighbours=[3]
    )
    assert bool(head.head(0)(torch.zeros(2, 20)).isfinite().all())


@pytest.mark.parametrize(
    ("images", "numbers"),
    [(1, (1,)), (9, (5, 2, 1)), (50, (50, 20, 10, 5, 2, 1)), (10_000, (50, 20, 10, 5, 2, 1))],
)
def test_the_numbers_tried_are_those_there_are_images_for(images: int, numbers: tuple[int, ...]) -> None:
    assert default_neighbours(images) == numbers


@pytest.mark.parametrize("neighbours", [[], [0], [-1, 2], [21]])
def test_numbers_that_cannot_be_are_refused(neighbours: list[int]) -> None:
    with pytest.raises(ConfigError, match="1 to 20") as caught:
        fit_knn_path(*clouds(20), n_classes=K, neighbours=neighbours)
    assert str(caught.value).count("\n") == 1


def test_features_that_are_not_finite_are_refused() -> None:
    bank, labels = clouds(20)
    bank[4, 2] = math.inf
    with pytest.raises(DataError, match="first is row 4"):
        fit_knn_path(bank, labels, n_classes=K, neighbours=[1])


def test_it_is_a_module_without_parameters() -> None:
    head = fit_knn_path(*clouds(20), n_classes=K, neighbours=[1]).head(0)
    assert isinstance(head, KnnHead)
    assert not list(head.parameters())

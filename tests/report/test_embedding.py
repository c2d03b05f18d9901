import numpy as np
import pytest
from sklearn.decomposition import PCA

from headstart.report.embedding import lay_out


def clusters(n: int = 60, d: int = 20) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 3
    return (rng.normal(size=(n, d)) + 12 * rng.normal(size=(3, d))[labels]).astype(np.float32), labels


@pytest.mark.parametrize(("most", "method"), [(60, "t-SNE"), (59, "PCA")])
def test_what_is_alike_lies_together(most: int, method: str) -> None:
    features, labels = clusters()
    found = lay_out(features, most_tsne=most)
    assert found is not None
    assert found.method == method
    assert found.places.shape == (60, 2)
    far = np.linalg.norm(found.places[:, None] - found.places[None], axis=2) + 1e9 * np.eye(60)
    assert (labels[far.argmin(axis=1)] == labels).mean() == 1


def test_the_same_features_give_the_same_map() -> None:
    features, _ = clusters()
    np.testing.assert_array_equal(lay_out(features).places, lay_out(features).places)


def test_pca_is_that_of_scikit_learn() -> None:
    features, _ = clusters()
    expected = PCA(2).fit_transform(features)
    found = lay_out(features, most_tsne=0).places
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3, atol=1e-3)  # signs are free


def test_positions_are_averaged_over() -> None:
    features, _ = clusters()
    planes = np.repeat(features[:, :, None], 4, axis=2).reshape(60, 20, 2, 2)
    np.testing.assert_allclose(
        lay_out(planes, most_tsne=0).places, lay_out(features, most_tsne=0).places, atol=1e-3
    )


@pytest.mark.parametrize(
    "features", [np.zeros((9, 4)), np.ones((1, 4)), np.full((9, 4), np.nan), np.arange(9.0)[:, None]], ids=str
)
def test_no_map_of_what_does_not_differ(features: np.ndarray) -> None:
    assert lay_out(features.astype(np.float32)) is None


@pytest.mark.parametrize("n", [2, 3, 5, 13])
def test_few_images(n: int) -> None:
    assert np.isfinite(lay_out(clusters(n)[0]).places).all()

import numpy as np
import pytest

from headstart.errors import DataError


def test_no_test_images(make_record) -> None:
    with pytest.raises(DataError, match="at least one test image"):
        make_record(paths=[])


@pytest.mark.parametrize("field", ["labels", "probabilities"])
def test_shapes_that_do_not_fit(make_record, field: str) -> None:
    with pytest.raises(DataError, match=r"24 test images of 3 classes need labels \(24,\)"):
        make_record(**{field: np.zeros(5, dtype=np.int64)})

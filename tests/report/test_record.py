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


def test_phases_and_epochs_that_are_none(make_record, make_epochs) -> None:
    with pytest.raises(DataError, match="phases probe, finetune; got warmup"):
        make_record(history=make_epochs(2, "warmup"))
    for best in ({"finetune": 3}, {"probe": 1}):
        with pytest.raises(DataError, match="epoch that was kept stands in the history"):
            make_record(history=make_epochs(2, "finetune"), best_epoch=best)


def test_epochs_of_a_phase(make_record, make_epochs) -> None:
    probe, finetune = make_epochs(2, "probe"), make_epochs(3, "finetune")
    record = make_record(history=[*probe, *finetune], best_epoch={"probe": 2, "finetune": 3})
    assert record.epochs("probe") == probe
    assert record.epochs("finetune") == finetune

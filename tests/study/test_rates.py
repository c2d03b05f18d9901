"""Learning rates in words, and their epochs scaled."""

import pytest

from headstart.config import TrainConfig
from headstart.study.rates import rates_in_words, recipe_of, scale_epochs

STEPS = "2.5e-4:7, 2.5e-5:7, 2.5e-6:4"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"recipe": "finetune", "schedule": STEPS, "warmup": 0.0}, "2.5e-4 x 7, 2.5e-5 x 7, 2.5e-6 x 4"),
        ({"recipe": "probe"}, "solved for, no epochs"),
        ({"recipe": "probe", "epochs": 10}, "1e-3 x 10"),
        (
            {"recipe": "finetune", "lr": 0.1, "epochs": 3, "schedule": "cosine", "warmup": 0.5},
            "1e-1 x 3, cosine, warm-up 0.5",
        ),
        ({"recipe": "probe", "lr": 1 / 3, "epochs": 3}, "0.3333333333333333 x 3"),
    ],
)
def test_rates_in_words(options: dict[str, object], words: str) -> None:
    assert rates_in_words(TrainConfig("photos", **options)) == words  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scale", "schedule"),
    [
        (0.1, "2.5e-4:1, 2.5e-5:1, 2.5e-6:1"),
        (0.5, "2.5e-4:4, 2.5e-5:4, 2.5e-6:2"),
        (0.001, "2.5e-4:1, 2.5e-5:1, 2.5e-6:1"),
        (2.0, "2.5e-4:14, 2.5e-5:14, 2.5e-6:8"),
    ],
)
def test_each_learning_rate_keeps_its_share_and_at_least_one_epoch(scale: float, schedule: str) -> None:
    config = TrainConfig("photos", recipe="finetune", schedule=STEPS)

    scaled = scale_epochs(config, scale)

    assert scaled.schedule == schedule
    before, after = recipe_of(config).rates(), recipe_of(scaled).rates()
    assert [rate for rate, _ in after.rates] == [rate for rate, _ in before.rates]


def test_epochs_of_the_recipe_itself_are_scaled_with_its_warm_up() -> None:
    scaled = scale_epochs(TrainConfig("photos", recipe="finetune"), 0.5)

    assert (scaled.epochs, scaled.warmup, scaled.schedule) == (4, 0.5, None)


def test_auto_is_scaled_by_its_longer_part() -> None:
    assert scale_epochs(TrainConfig("photos", epochs=20), 0.2).epochs == 4


@pytest.mark.parametrize(
    "config", [TrainConfig("photos", recipe="probe"), TrainConfig("photos", recipe="finetune")]
)
def test_nothing_changes_by_one(config: TrainConfig) -> None:
    assert scale_epochs(config, 1.0) is config


def test_a_head_that_is_solved_for_has_no_epochs_to_scale() -> None:
    config = TrainConfig("photos", recipe="probe")

    assert scale_epochs(config, 0.1) is config

"""The loop: it learns what it should, keeps what is best, and ends with the same bits however it was interrupted."""

import math
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from headstart.errors import RunError, TrainingError
from headstart.heads import LinearHead
from headstart.recipes import Recipe, load_recipe
from headstart.training import backward
from headstart.training.interruption import Interruption
from headstart.training.loop import Examples, Trained, Watch, train_network

K, SIDE = 3, 8


@dataclass(frozen=True)
class Drawn:
    """Images held in memory; those of an epoch carry its noise."""

    images: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def session(self) -> AbstractContextManager[None]:
        return nullcontext()

    def inputs(self, rows: Tensor, epoch: int | None) -> Tensor:
        if epoch is None:
            return self.images[rows]
        noise = torch.randn(self.images.shape, generator=torch.Generator().manual_seed(epoch))
        return self.images[rows] + 0.1 * noise[rows]


def drawn(n: int, seed: int) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % K
    colours = torch.eye(K)[labels][:, :, None, None]
    return Examples(
        source=Drawn(colours + 0.7 * torch.randn(n, K, SIDE, SIDE, generator=generator)), labels=labels
    )


def network(dropout: float = 0.2) -> tuple[nn.Module, nn.Module]:
    """A body with everything that can go wrong (batch norm, dropout), and a head."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
        )
        return body, nn.Linear(8, K)


RECIPE = replace(load_recipe("finetune"), epochs=4, batch_size=8, lr=0.02)
TRAIN, VALIDATION = drawn(30, 1), drawn(20, 2)


def trained(
    recipe: Recipe = RECIPE,
    *,
    parts: tuple[nn.Module, nn.Module] | None = None,
    validation: Examples | None = VALIDATION,
    **options: object,
) -> tuple[Trained, dict[str, Tensor]]:
    body, head = parts or network()
    result = train_network(body, head, TRAIN, recipe, validation=validation, seed=3, **options)  # type: ignore[arg-type]
    return result, nn.Sequential(body, head).state_dict()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_and_tells_of_each_epoch() -> None:
    told = []
    result, _ = trained(
        replace(RECIPE, epochs=12), watch=Watch(epoch=lambda history, epochs: told.append(history[-1]))
    )

    assert told == list(result.history)
    assert [epoch.number for epoch in told] == list(range(1, 13))
    assert told[-1].validation_accuracy > 0.8 > told[0].train_accuracy
    assert all(epoch.seconds > 0 and epoch.images_per_second > 0 for epoch in told)
    assert result.complete


def test_the_same_seed_gives_the_same_bits_and_the_callers_generator_is_untouched() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = trained()[1]
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)

    assert same(trained()[1], first)


def test_the_kept_weights_are_those_of_the_best_epoch() -> None:
    recipe = replace(RECIPE, epochs=8, lr=0.3, label_smoothing=0.0)
    result, weights = trained(recipe)
    best = max(result.history, key=lambda e: (e.validation_accuracy, -e.validation_loss, -e.number))
    shorter, same_weights = trained(recipe, stop_after=result.kept)

    assert result.kept == best.number == shorter.kept
    assert same(weights, same_weights)
    accuracy = (result.validation_logits.argmax(1) == VALIDATION.labels).double().mean()
    assert float(accuracy) == best.validation_accuracy


def test_keep_last_keeps_the_last() -> None:
    result, _ = trained(replace(RECIPE, keep="last"))

    assert result.kept == 4


def test_without_validation_the_last_epoch_is_kept_and_nothing_is_judged() -> None:
    result, _ = trained(validation=None)

    assert result.kept == 4
    assert result.validation_logits is None
    assert {epoch.validation_loss for epoch in result.history} == {None}


def test_batch_norms_in_eval_keep_their_statistics_bit_for_bit() -> None:
    body, _ = network()
    before = {name: value.clone() for name, value in body.state_dict().items()}
    kept = trained()[1]
    followed = trained(replace(RECIPE, batch_norm="train"))[1]

    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(kept[f"0.{name}"], before[name])
        assert not torch.equal(followed[f"0.{name}"], before[name])
    assert not torch.equal(kept["0.1.weight"], before["1.weight"])  # scale and shift are trained


@dataclass
class Recording:
    """Stored rows, and a record of which were asked for in each epoch, step by step."""

    images: Tensor
    asked: dict[int | None, list[Tensor]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    def session(self) -> AbstractContextManager[None]:
        return nullcontext()

    def inputs(self, rows: Tensor, epoch: int | None) -> Tensor:
        self.asked.setdefault(epoch, []).append(rows.clone())
        return self.images[rows]


def clusters(n: int, seed: int, *, classes: int = 5, width: int = 24) -> Examples:
    """Overlapping clusters of features."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    centres = torch.randn(classes, width, generator=torch.Generator().manual_seed(9))
    features = centres[labels] + 1.5 * torch.randn(n, width, generator=generator)
    return Examples(source=Recording(features), labels=labels)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("batch", [16, 50, 1000])  # none divides 230: the last step has fewer
def test_a_head_on_stored_features_goes_as_in_an_ordinary_loop(batch: int, optimizer: str) -> None:
    train, held_out = clusters(230, 0), clusters(90, 1)
    before = train.source.images.clone()
    recipe = replace(
        load_recipe("probe"), optimizer=optimizer, epochs=12, batch_size=batch, lr=0.01, weight_decay=0.1
    )
    head = nn.Linear(24, 5)
    layer = nn.Linear(24, 5)
    layer.load_state_dict(head.state_dict())

    result = train_network(
        nn.Identity(), head, train, replace(recipe, keep="last"), validation=held_out, seed=3
    )

    groups = [{"params": [layer.weight], "weight_decay": 0.1}, {"params": [layer.bias], "weight_decay": 0.0}]
    ordinary = {
        "sgd": partial(torch.optim.SGD, momentum=recipe.momentum),
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
    }[optimizer](groups, lr=0.01, foreach=False)
    for epoch in result.history:
        # Before the first step, the loop looks at one row to see what it has got.
        steps = [rows for rows in train.source.asked[epoch.number - 1] if len(rows) > 1]
        assert torch.cat(steps).sort().values.equal(torch.arange(230))
        losses, right = 0.0, 0
        for rows in steps:
            logits = layer(before[rows])
            loss = nn.functional.cross_entropy(logits, train.labels[rows])
            ordinary.zero_grad()
            loss.backward()
            ordinary.step()
            losses += loss.item() * len(rows)
            right += int((logits.argmax(1) == train.labels[rows]).sum())
        with torch.no_grad():
            logits = layer(held_out.source.images)
        assert epoch.train_loss == pytest.approx(losses / 230, abs=1e-5)
        assert epoch.train_accuracy == right / 230
        loss = nn.functional.cross_entropy(logits, held_out.labels)
        assert epoch.validation_loss == pytest.approx(float(loss), abs=1e-5)
        assert epoch.validation_accuracy == float((logits.argmax(1) == held_out.labels).double().mean())
    torch.testing.assert_close(head.weight, layer.weight, atol=1e-5, rtol=1e-4)
    assert torch.equal(train.source.images, before)
    assert not torch.equal(torch.cat(train.source.asked[1]), torch.cat(train.source.asked[2]))


def test_the_small_steps_of_a_head_take_one_thread() -> None:
    seen = []
    watch = Watch(step=lambda *_, **__: seen.append(torch.get_num_threads()))
    recipe = replace(RECIPE, epochs=1, batch_size=30)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        trained(recipe, watch=watch)
        trained(recipe, parts=(nn.Flatten(), nn.Linear(K * SIDE * SIDE, K)), watch=watch)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)

    assert seen == [2, 1]


class KilledError(Exception):
    pass


def stop_at(n: int, how: Callable[[], object]) -> Callable[..., None]:
    """A step's progress that does something at the n-th step."""
    steps = iter(range(1, 10**6))

    def step(*_: object, **__: object) -> None:
        if next(steps) == n:
            how()

    return step


def kill() -> None:
    raise KilledError


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("n", [1, 3, 5, 11])
def test_a_training_that_was_killed_ends_with_the_same_bits(
    tmp_path: Path, n: int, optimizer: str, dropout: float
) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, batch_size=10)
    undisturbed, weights = trained(recipe, parts=network(dropout))
    watch = Watch(checkpoint=tmp_path / "checkpoint", step=stop_at(n, kill))
    with pytest.raises(KilledError):
        trained(recipe, watch=watch, parts=network(dropout))

    resumed, same_weights = trained(recipe, watch=replace(watch, step=None), parts=network(dropout))

    assert same(weights, same_weights)
    assert [e.train_loss for e in resumed.history] == [e.train_loss for e in undisturbed.history]
    assert torch.equal(resumed.validation_logits, undisturbed.validation_logits)


@pytest.mark.parametrize("n", [1, 5, 8, 16])
def test_an_interruption_is_saved_within_the_epoch(tmp_path: Path, n: int) -> None:
    undisturbed, weights = trained()
    interruption = Interruption()
    watch = Watch(
        checkpoint=tmp_path / "checkpoint",
        interruption=interruption,
        step=stop_at(n, lambda: interruption.receive(signal.SIGINT, None)),
    )
    stopped, _ = trained(watch=watch)
    assert not stopped.complete

    steps = []
    resumed, same_weights = trained(
        watch=Watch(checkpoint=watch.checkpoint, step=lambda *_, **__: steps.append(1))
    )

    assert len(steps) == 16 - n  # no step is taken twice
    assert same(weights, same_weights)
    assert [e.train_loss for e in resumed.history] == pytest.approx(
        [e.train_loss for e in undisturbed.history], abs=0
    )
    assert [e.lr for e in resumed.history] == [e.lr for e in undisturbed.history]


def test_progress_within_an_epoch_counts_what_was_done_before_an_interruption(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    watch = Watch(
        checkpoint=tmp_path / "checkpoint", step=lambda done, total, **_: told.append((done, total))
    )
    interruption = Interruption()
    stop = stop_at(2, lambda: interruption.receive(signal.SIGINT, None))
    trained(stop_after=1, watch=replace(watch, step=stop, interruption=interruption))

    trained(stop_after=1, watch=watch)

    assert told == [(24, 30), (30, 30)]


def test_an_interrupted_training_keeps_the_best_so_far() -> None:
    interruption = Interruption()
    watch = Watch(interruption=interruption, step=stop_at(10, lambda: interruption.receive(2, None)))
    stopped, weights = trained(watch=watch)

    assert len(stopped.history) == 2
    assert same(weights, trained(stop_after=2)[1])


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    trained(watch=Watch(checkpoint=tmp_path / "checkpoint", identity="roses"))

    with pytest.raises(RunError, match="another training"):
        trained(watch=Watch(checkpoint=tmp_path / "checkpoint", identity="tulips"))


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_bytes(b"\0" * 100)

    with pytest.raises(RunError, match="checkpoint cannot be read"):
        trained(watch=Watch(checkpoint=tmp_path / "checkpoint"))


def test_a_loss_that_is_no_number_stops_with_a_message() -> None:
    with pytest.raises(TrainingError, match=r"(?s)loss became nan.*--lr"):
        trained(replace(RECIPE, optimizer="sgd", lr=1e30, clip=0.0, schedule="constant", warmup=0.0))


def test_patience_ends_it() -> None:
    recipe = replace(RECIPE, epochs=50, lr=1e-12, schedule="constant", patience=3, warmup=0.0)
    result, _ = trained(recipe)

    assert len(result.history) == result.kept + 3


def test_a_deadline_that_has_passed_allows_no_further_epoch() -> None:
    done = []
    watch = Watch(
        deadline=time.monotonic() + 0.2, epoch=lambda history, _: (done.append(history[-1]), time.sleep(0.25))
    )
    result, _ = trained(replace(RECIPE, epochs=1000), watch=watch)

    assert result.complete
    assert 1 <= len(done) == len(result.history) < 1000


def test_one_step_is_what_the_papers_say() -> None:
    """One epoch of one batch of SGD, by hand: smoothed targets, class weights, clipped gradient, decay on weights."""
    recipe = replace(
        RECIPE, optimizer="sgd", momentum=0.0, epochs=1, batch_size=30, lr=0.5, schedule="constant", warmup=0.0,
        label_smoothing=0.2, weight_decay=0.1, clip=0.05, keep="last",
    )  # fmt: skip
    head, class_weights = nn.Linear(K * SIDE * SIDE, K), torch.tensor([1.0, 2.0, 0.5])
    w, b = (p.detach().double().requires_grad_() for p in head.parameters())
    x = TRAIN.source.inputs(torch.arange(30), 0).flatten(1).double()
    y = TRAIN.labels
    log_p = (x @ w.T + b).log_softmax(1)
    target = 0.8 * nn.functional.one_hot(y, K) + 0.2 / K
    loss = -(target * class_weights * log_p).sum() / class_weights[y].sum()
    loss.backward()
    norm = math.sqrt(float((w.grad**2).sum() + (b.grad**2).sum()))
    assert norm > recipe.clip
    factor = recipe.clip / norm

    trained(recipe, parts=(nn.Flatten(), head), class_weights=class_weights)

    torch.testing.assert_close(
        head.weight.detach().double(), (w - 0.5 * (factor * w.grad + 0.1 * w)).detach(), atol=1e-6, rtol=1e-5
    )
    torch.testing.assert_close(
        head.bias.detach().double(), (b - 0.5 * factor * b.grad).detach(), atol=1e-6, rtol=1e-5
    )


def test_pieces_on_threads_are_the_batch_itself_on_any_number_of_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = replace(RECIPE, batch_size=30, epochs=3, optimizer="sgd")
    of_two = trained(recipe, parts=network(0.0))[1]
    monkeypatch.setattr(backward, "usable_cores", lambda: 5)
    of_five = trained(recipe, parts=network(0.0))[1]
    monkeypatch.setattr(backward, "Pieces", lambda model, machine, pool: backward.WholeBatch(model, machine))
    whole = trained(recipe, parts=network(0.0))[1]

    assert same(of_two, of_five)
    for name, value in whole.items():
        torch.testing.assert_close(of_two[name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("dropout", "batch_norm"), [(0.2, "eval"), (0.0, "train")])
def test_what_draws_or_mixes_images_is_trained_on_whole_batches(
    monkeypatch: pytest.MonkeyPatch, dropout: float, batch_norm: str
) -> None:
    monkeypatch.setattr(backward, "Pieces", None)  # would not do

    assert trained(replace(RECIPE, batch_norm=batch_norm), parts=network(dropout))[0].complete


def test_dense_layers_alone_take_the_whole_batch_even_of_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backward, "Pieces", None)  # would not do

    assert trained(parts=(nn.Identity(), LinearHead(K * SIDE * SIDE, K)))[0].complete

"""Whether figures of others can be compared with ours: every reason why not, in words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from headstart.config import TrainConfig
from headstart.datasets import parse_protocol
from headstart.study.study import Reference, ReferenceProtocol, Study

READ_ONCE: Final = "read once, after every choice"
"""What held-out images are used for here; a reference's can be compared only where the same was done."""

METRIC: Final = "accuracy on the held-out images"
"""What is compared, likewise."""


def differences(
    study: Study,
    reference: Reference,
    config: TrainConfig,
    *,
    scale: float,
    settings: Mapping[str, Any] | None = None,
) -> tuple[str, ...]:
    """What was done otherwise than for a reference's figures, as far as it is known before the run.

    Args:
        study: whose reference it is; its own data sets, splits and backbones are those of the reference.
        reference: the figures of others.
        config: the run's options.
        scale: factor by which its epochs differ from the study's.
        settings: options that took the place of the case's.

    Returns:
        Sentences without a full stop; none where all of the protocol matches so far.
    """
    protocol = reference.protocol
    found = []
    if protocol.held_out_use != READ_ONCE:
        found.append(
            f"the reference's held-out images were {protocol.held_out_use}; here test is {READ_ONCE}"
        )
    split = next(each.split for each in study.data if each.name == reference.data)
    if config.data != reference.data:
        found.append(f"the reference's data are {protocol.data}, here {config.data}")
    if config.split != split:
        found.append(f"the reference's split is {protocol.split}, here {config.split}")
    if (rule := parse_protocol(config.split)) is None or not rule.val:
        found.append(
            "choices are made within the training part here, so fewer images may be left to train on"
        )
    if config.backbone != reference.backbone:
        found.append(f"the reference's backbone is {protocol.backbone}, here {config.backbone}")
    if (weights := _other_weights(config, protocol)) is not None:
        found.append(f"the reference's weights are {protocol.weights}, here {weights}")
    if scale != 1:
        found.append(f"the epochs are {scale:g} times the study's")
    if settings:
        given = ", ".join(f"{key} = {value}" for key, value in settings.items())
        found.append(f"options take the place of the study's: {given}")
    if protocol.metric != METRIC:
        found.append(f"the reference's figures are {protocol.metric}, here {METRIC}")
    if protocol.not_stated:
        found.append(f"the reference does not state {', '.join(protocol.not_stated)}")
    return tuple(found)


def differences_of_images(protocol: ReferenceProtocol, trained_on: int, held_out: int) -> tuple[str, ...]:
    """Likewise what is known after the run: how many images there were.

    Args:
        protocol: the reference's.
        trained_on: how many images our classifier was fitted to.
        held_out: how many it was tested on.
    """
    found = []
    for theirs, ours, done in (
        (protocol.n_train, trained_on, "trained on"),
        (protocol.n_held_out, held_out, "held out"),
    ):
        if theirs is None:
            found.append(f"the reference does not state how many images were {done} (here {ours:,})")
        elif theirs != ours:
            found.append(f"{ours:,} images were {done} here instead of {theirs:,}")
    return tuple(found)


def difference_in_words(
    reference: Reference, accuracies: Sequence[float], reasons: Sequence[str]
) -> str | None:
    """Ours minus the reference's, only where nothing speaks against it.

    Args:
        reference: the figures of others.
        accuracies: ours on test, one a seed.
        reasons: all differences of the protocol.

    Returns:
        The difference in words; None where there is a reason, or no figure on either side.
    """
    theirs = reference.figures.test_accuracy
    if reasons or theirs is None or not accuracies:
        return None
    ours = sum(accuracies) / len(accuracies)
    return f"ours - reference: {100 * (ours - theirs):+.1f} points ({ours:.1%} - {theirs:.1%})"


def _other_weights(config: TrainConfig, protocol: ReferenceProtocol) -> str | None:
    """The weights that a run begins with, where they are not known to be the reference's."""
    if config.recipe == "scratch" or config.weights == protocol.weights:
        return None
    if config.weights in ("pretrained", "none"):
        return "random" if config.weights == "none" else "the pretrained ones that headstart knows"
    return None if Path(config.weights).name == protocol.weights_file else config.weights

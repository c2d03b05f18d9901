"""Why a figure of others and ours cannot be compared: every reason, in words."""

from pathlib import Path

from headstart.config import TrainConfig
from headstart.datasets import parse_protocol
from headstart.study.study import Reference, ReferenceProtocol, Study


def differences(study: Study, reference: Reference, config: TrainConfig, *, scale: float) -> tuple[str, ...]:
    """What was done otherwise than for a reference's figures, as far as it is known before the run.

    Args:
        study: whose reference it is; its own data sets, splits and backbones are those of the reference.
        reference: the figures of others.
        config: the run's options.
        scale: factor by which its epochs differ from the study's.

    Returns:
        Sentences without a full stop, never none: the reference programs all looked at what they held out.
    """
    protocol = reference.protocol
    use = f"the reference's held-out images were {protocol.held_out_use}"
    found = [f"{use}; here test is read once, after every choice"]
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
    if protocol.not_stated:
        found.append(f"the reference does not state {', '.join(protocol.not_stated)}")
    return tuple(found)


def _other_weights(config: TrainConfig, protocol: ReferenceProtocol) -> str | None:
    """The weights that a run begins with, where they are not the reference's."""
    if config.recipe == "scratch" or config.weights == "pretrained":
        return None
    if config.weights == "none":
        return "random"
    return None if Path(config.weights).name == protocol.weights_file else config.weights

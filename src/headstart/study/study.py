"""A study: data sets x backbones x cases x seeds, with the figures of others that stand beside it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class StudyData:
    """A data set of a study.

    Attributes:
        name: what `headstart train` takes as DATA.
        split: how it is divided, what `--split` takes.
        also: what a folder with the same kind of photos may be called: figures of others for this data set then stand
            beside it.
    """

    name: str
    split: str
    also: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to train.

    Attributes:
        name: short, of letters, digits and hyphens; files are called after it.
        title: what is done, in words.
        options: `TrainConfig`'s options that make the case, those that all cases of the study share included;
            without those that the study sets for it: data, split, backbone, seed, init. A `from_layer` of
            `CLASSIFIER` means the classifier of whatever backbone there is.
        start_from: name of the earlier case whose run this one continues; None where it starts by itself.
    """

    name: str
    title: str
    options: Mapping[str, Any]
    start_from: str | None = None


CLASSIFIER = "classifier"
"""The layer from which on a network is its classifier, whatever the backbone calls it."""


@dataclass(frozen=True, kw_only=True)
class ReferenceProtocol:
    """How figures of others came about; "not stated" is said, never filled in.

    Attributes:
        data: which data, in words.
        split: how they were divided, in words.
        n_train: images trained on; None where it is not stated.
        n_held_out: images held out; None where it is not stated.
        backbone: which network.
        weights: which weights it began with.
        weights_file: the name of the weights' file, where they come by hand.
        held_out_use: what the held-out images were used for; goes on after "they were".
        metric: what was measured.
        not_stated: what else is not stated, each with what a study takes in its place.
    """

    data: str
    split: str
    n_train: int | None
    n_held_out: int | None
    backbone: str
    weights: str
    weights_file: str | None
    held_out_use: str
    metric: str
    not_stated: tuple[str, ...]

    def in_words(self) -> list[tuple[str, str]]:
        """How the figures came about, what and how; what is not stated is said to be so."""
        counts = [("trained on", self.n_train), ("held out", self.n_held_out)]
        numbers = ", ".join(f"{what}: {'not stated' if n is None else f'{n:,}'}" for what, n in counts)
        found = [
            ("data", self.data),
            ("split", self.split),
            ("images", numbers),
            ("backbone", self.backbone),
            ("weights", self.weights),
            ("held out", self.held_out_use),
            ("figures", self.metric),
        ]
        return [*found, ("not stated", ", ".join(self.not_stated))] if self.not_stated else found


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What others state; None is what they do not.

    Attributes:
        train_accuracy: on the images trained on, 0 to 1.
        validation_accuracy: on the images held out and looked at during training, 0 to 1.
        test_accuracy: on images called a test, 0 to 1.
        train_loss: cross-entropy, natural logarithm.
        validation_loss: likewise, on the images held out.
    """

    train_accuracy: float | None = None
    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    train_loss: float | None = None
    validation_loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Figures of others for one case on one data set with one backbone.

    Attributes:
        case: the case's name.
        data: name of the data set.
        backbone: name of the backbone.
        figures: what was measured.
        protocol: how.
        remark: what else there is to say of the figures; may be empty.
    """

    case: str
    data: str
    backbone: str
    figures: Figures
    protocol: ReferenceProtocol
    remark: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """Data sets x backbones x cases x seeds.

    Attributes:
        name: of a shipped study, or its file's without the ending.
        title: in words.
        data: the data sets.
        backbones: what `--backbone` takes.
        seeds: what `--seed` takes.
        notes: what a reader has to know, a sentence or two each.
        cases: in the order in which they can be run.
        protocols: how the figures of others came about, by a name of its own.
        references: these figures.
        is_written: whether somebody wrote its cases down, so that what distinguishes them is worth columns.
    """

    name: str
    title: str
    data: tuple[StudyData, ...]
    backbones: tuple[str, ...]
    seeds: tuple[int, ...]
    notes: tuple[str, ...]
    cases: tuple[Case, ...]
    protocols: Mapping[str, ReferenceProtocol]
    references: tuple[Reference, ...]
    is_written: bool = True

    def references_of(self, case: str, data: Collection[str], backbone: str) -> tuple[Reference, ...]:
        """The figures of others for a case that stand beside a run: the one of its data set and backbone.

        Where there is none, those of the data set; else those of the backbone; else all. They stand beside whatever is
        done in their place, with the reasons why the two cannot be compared.

        Args:
            case: its name.
            data: names that the run's data set goes by.
            backbone: the run's.
        """
        names = {each.name: {each.name, *each.also} for each in self.data}
        of_case = [each for each in self.references if each.case == case]
        of_data = [each for each in of_case if names[each.data] & set(data)]
        of_backbone = [each for each in of_case if each.backbone == backbone]
        both = [each for each in of_data if each in of_backbone]
        return tuple(both or of_data or of_backbone or of_case)

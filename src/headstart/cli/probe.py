"""`headstart probe`."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from headstart.cli.console import download_bar, extraction_bar, out, percent, show_note
from headstart.cli.extract import show_extracted
from headstart.config import ProbeConfig
from headstart.errors import ConfigError

if TYPE_CHECKING:
    from headstart.jobs import Probe
    from headstart.training import Epoch


def probe(
    options: Annotated[ProbeConfig | None, Parameter(name="*")] = None,
    *,
    out_folder: Annotated[Path | None, Parameter(name="--out")] = None,
    store: Path | None = None,
) -> int:
    """Train linear heads on features and judge them: --training_file F --validation_file F, or DATA --out FOLDER.

    Args:
        options: What is probed.
        out_folder: With DATA: folder for the two files of its features, as `extract --format bottleneck` writes them.
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
    """
    from headstart.jobs import probe as probe_files

    options = options if options is not None else ProbeConfig()  # which says what is missing

    def report(epoch: "Epoch", epochs: int) -> None:
        out.print(_epoch_line(epoch, epochs))

    found = probe_files(_with_files(options, out_folder, store), report=report)
    for warning in found.warnings:
        show_note(warning)
    _show(found)
    return 0


def _with_files(options: ProbeConfig, out_folder: Path | None, store: Path | None) -> ProbeConfig:
    """The options with two files of features, extracted where there are only photos."""
    if not options.data:
        if out_folder is not None:
            raise ConfigError(
                "--out is for the files that are made of DATA; nothing is written of two given files."
            )
        return options
    if out_folder is None:
        raise ConfigError("Where are the two files of features to be written?\nGive a folder: --out FOLDER.")
    from headstart.jobs import extract_bottleneck

    with extraction_bar() as bar, download_bar() as downloads:
        made = extract_bottleneck(options, out_folder, store=store, progress=bar, downloads=downloads)
    show_extracted(made)
    training_file, validation_file = (str(file.path) for file in made.files)
    return replace(options, data="", training_file=training_file, validation_file=validation_file)


def _epoch_line(epoch: "Epoch", epochs: int) -> str:
    """As Keras prints it."""
    return (
        f"Epoch {epoch.number}/{epochs} - loss: {epoch.train_loss:.4f} - acc: {epoch.train_accuracy:.4f} - "
        f"val_loss: {epoch.validation_loss:.4f} - val_acc: {epoch.validation_accuracy:.4f}"
    )


def _show(found: "Probe") -> None:
    """The path's figures, beside those of the last epoch."""
    path, scores = found.path, found.path.validation
    out.print(
        f"images    {found.n_train} training, {found.n_validation} validation, {found.n_classes} classes, "
        f"{found.width} values each"
    )
    if found.epochs:
        last, seconds = found.epochs[-1], sum(epoch.seconds for epoch in found.epochs)
        right = [
            epoch.validation_accuracy or 0.0 for epoch in found.epochs
        ]  # none is None: all are validated
        out.print(
            f"epochs    acc {percent(last.train_accuracy)}, val_acc {percent(right[-1])}, "
            f"val_loss {last.validation_loss:.4f} after {last.number} epochs, {seconds:.1f} s "
            f"(highest val_acc {percent(max(right))}, epoch {right.index(max(right)) + 1}: "
            "a choice made on validation, so too high)"
        )
    low, high = scores.accuracy_ci95
    out.print(
        f"[bold]path      acc {percent(path.train_accuracy)}, val_acc {percent(scores.accuracy)}, "
        f"val_loss {scores.log_loss:.4f}[/bold], {path.seconds:.1f} s "
        f"(val_acc {100 * low:.1f} to {100 * high:.1f}: {scores.interval.replace('test set', 'validation set')})"
    )
    held_out = "" if path.held_out is None else f", {percent(path.held_out.accuracy)} right out of fold"
    out.print(f"strength  {path.strength:.3g}, {path.rule}{held_out}; the validation file had no say in it")

"""`headstart extract`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from headstart.cli.console import download_bar, extraction_bar, out, show_note
from headstart.config import ExtractConfig

if TYPE_CHECKING:
    from headstart.jobs import ExtractedFiles


def extract(
    options: Annotated[ExtractConfig, Parameter(name="*")],
    *,
    out_path: Annotated[Path, Parameter(name="--out")],
    format_: Annotated[Literal["suffix", "bottleneck"], Parameter(name="--format")] = "suffix",
    store: Path | None = None,
) -> int:
    """Write the features of photos to files for other programs.

    Args:
        options: Which features.
        out_path: The file, .npz, .parquet or .p; with --format bottleneck the folder of the two files.
        format_: What the file's suffix says, for all images; or bottleneck: a training file of at most --per-class
            images a class (by default 100) and a validation file, named as programs on bottleneck features expect.
        store: Folder of the feature store; by default HEADSTART_STORE or the user's cache folder.
    """
    from headstart import jobs

    job = jobs.extract_bottleneck if format_ == "bottleneck" else jobs.extract
    with extraction_bar() as bar, download_bar() as downloads:
        made = job(options, out_path, store=store, progress=bar, downloads=downloads)
    show_extracted(made)
    return 0


def show_extracted(made: "ExtractedFiles") -> None:
    """Which files were written, and what is in them."""
    for problem in made.problems:
        show_note(f"{problem.path}: {problem.reason}")
    out.print(f"features  {made.extracted} extracted, {made.from_store} from the store, {made.seconds:.1f} s")
    for file in made.files:
        shape = " x ".join(map(str, file.shape))
        out.print(
            f"written   {file.path}: {file.images} images, {shape} values each ({file.words})", markup=False
        )

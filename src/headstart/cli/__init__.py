"""The command line: thin commands over the library, and one place where errors become words."""

import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from cyclopts import App, ArgumentCollection, CycloptsError
from cyclopts.config import Dict

from headstart.cli.audit import audit
from headstart.cli.backbones import backbones
from headstart.cli.cache import app as cache
from headstart.cli.compare import compare
from headstart.cli.console import err, show_error, show_warnings
from headstart.cli.demo import demo
from headstart.cli.evaluate import evaluate
from headstart.cli.extract import extract
from headstart.cli.learning_curve import learning_curve
from headstart.cli.options import GroupingApp
from headstart.cli.predict import predict
from headstart.cli.probe import probe
from headstart.cli.rank import rank
from headstart.cli.report import report
from headstart.cli.train import train
from headstart.config import read_config
from headstart.errors import HeadstartError

_HELP = """Transfer learning for image classification: a folder of photos in, a judged classifier out.

Begin with `headstart demo`, or with `headstart train PHOTOS`, where PHOTOS holds one folder of images per class.
Add `--debug` to any command to see the traceback of an error.
"""

# Other programs' names of the same options.
_OTHER_NAMES = {"--model": "--backbone", "--model-name": "--backbone", "--model_name": "--backbone"}

# Where DATA may be left out, as a file or two others may say it.
_USAGES = {
    "compare": "compare (DATA... | STUDY | FILE.toml) [OPTIONS]",
    "train": "train DATA [OPTIONS]",
    "probe": "probe (DATA --out FOLDER | --training-file F --validation-file F) [OPTIONS]",
}


def _config_file(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Options that are not on the command line come from the file that `--config` names."""
    for argument in arguments:
        if argument.name == "--config" and argument.tokens:
            options = asdict(read_config(Path(argument.tokens[0].value)))
            given = {key: value for key, value in options.items() if value is not None}
            Dict(given, source="--config", use_commands_as_keys=False)(app, commands, arguments)


def _build_app() -> App:
    app = GroupingApp(
        name="headstart",
        help=_HELP,
        help_format="plaintext",  # what renders Markdown takes a third of the time to start
        config=_config_file,
        version_flags=["--version"],
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # `main` says what is kept
    )
    for command in (
        demo,
        train,
        predict,
        evaluate,
        audit,
        extract,
        probe,
        compare,
        rank,
        learning_curve,
        report,
        backbones,
        cache,
    ):
        app.command(command)
    for name, usage in _USAGES.items():
        app[name].usage = f"Usage: headstart {usage}"
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: by default those of the process.

    Returns:
        The exit code: 0, 2 for an error that says what to do, 130 when interrupted.
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in tokens
    show_warnings()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code = _build_app()(
            [_translate(token) for token in tokens if token != "--debug"],
            exit_on_error=False,
            print_error=False,
        )
    except KeyboardInterrupt:
        err.print("interrupted; every feature extracted so far is kept in the store")
        return 130
    except (HeadstartError, CycloptsError) as error:
        if debug:
            raise
        show_error(str(error))
        return 2
    return code if isinstance(code, int) else 0


def _translate(token: str) -> str:
    """`--model_name=vgg` as `--backbone=vgg`."""
    name, equals, value = token.partition("=")
    return _OTHER_NAMES.get(name, name) + equals + value


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

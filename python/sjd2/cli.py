"""The command line: `sjd2 COMMAND`, also `python -m sjd2 COMMAND`.

A command is a function in a module of `sjd2.commands`, both of the command's name; typer makes its options from the
function's arguments. To add one, write the module and put its name into `COMMANDS`. `sjd2 --help` imports all of these
modules, so they import torch, transformers and Pillow inside their functions.

What goes wrong for a reason that a user can mend (`ERRORS`) becomes one line on stderr and exit code 2.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

logger = logging.getLogger(__name__)

COMMANDS = ("generate", "demo", "trace", "eval", "report", "finetune", "doctor")  # in the order of the help
ERRORS = (ValueError, OSError, MemoryError, ModuleNotFoundError)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 done but not to be trusted, 2 not done.

    Args:
        arguments: words after the program's name; None is the process's own.
    """
    try:
        application()(arguments)
    except ERRORS as error:
        text = " ".join(str(error).split()) or ("not enough memory" if isinstance(error, MemoryError) else repr(error))
        print(f"sjd2: {text}", file=sys.stderr)
        logger.info("where it happened:", exc_info=True)
        sys.exit(2)


def application() -> typer.Typer:
    """The typer application with all commands.

    Raises: ModuleNotFoundError that names the install line where typer is missing.
    """
    try:
        import typer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the command line needs typer: pip install 'sjd2-kernels[decoder]'") from error
    app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    option = typer.Option(False, "--verbose", "-v", help="Log sizes and choices, and show where an error happened.")

    def common(verbose: bool = option) -> None:
        """Pictures from autoregressive models by parallel decoding."""
        logging.basicConfig(format="%(name)s: %(message)s")
        logging.getLogger("sjd2").setLevel(logging.INFO if verbose else logging.WARNING)

    app.callback()(common)
    for name in COMMANDS:
        app.command(name)(getattr(import_module(f"sjd2.commands.{name}"), name))
    return app

"""The ``fersearch`` command: its groups, and how its errors reach the user."""

from __future__ import annotations

import io
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

import click

from fersearch import __version__
from fersearch.cli.baseline import baseline
from fersearch.cli.data import data
from fersearch.cli.demo import demo
from fersearch.cli.deploy import export, predict
from fersearch.cli.doctor import doctor
from fersearch.cli.report import report
from fersearch.cli.study import study
from fersearch.errors import FersearchError

__all__ = ["cli", "main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="fersearch")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Search, train and fairly compare light facial-expression-recognition models.

    \b
    Start here (no data set needed, about half an hour on two CPU cores):
        fersearch study distill --trials 50
    With faces of your own, DIR/<expression>/*.png or a known data set:
        fersearch data describe DIR
        fersearch study distill --data DIR --trials 50
    What this machine can do:
        fersearch doctor

    Everything a command writes is in one folder: --workspace, else $FERSEARCH_WORKSPACE,
    else ./workspace. Running the same command again continues where it stopped.
    """


cli.add_command(study)
cli.add_command(baseline)
cli.add_command(data)
cli.add_command(report)
cli.add_command(export)
cli.add_command(predict)
cli.add_command(demo)
cli.add_command(doctor)


def _on_terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 2 wrong input, 130 interrupted, 1 anything else."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    # It may stand anywhere: nobody types it before they need it.
    given = [item for item in given if item != "--debug"]
    signal.signal(signal.SIGTERM, _on_terminate)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names need not be UTF-8: what cannot be written is escaped, as on stderr. In JSON,
        # such an escape is the character itself.
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(_run(given, debug=debug))


def _run(given: list[str], *, debug: bool) -> int:
    try:
        command = shlex.join(["fersearch", *given])
        cli.main(args=given, prog_name="fersearch", standalone_mode=False, obj=command)
        return 0
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        return _report(error, error.format_message().rstrip("."), 2, debug=debug)
    except (KeyboardInterrupt, click.Abort):
        command = shlex.join(["fersearch", *given])
        print(
            f"interrupted; what was finished is saved, continue with:\n{command}", file=sys.stderr
        )
        return 130
    except FersearchError as error:
        return _report(error, str(error), error.exit_code, debug=debug)
    except BrokenPipeError:
        # The reader of a pipe has gone, as with `| head`: nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001 - the last resort of the command line
        message = f"unexpected {type(error).__name__}: {error}"
        return _report(error, f"{message}; run again with --debug to see where", 1, debug=debug)


def _report(error: BaseException, message: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code

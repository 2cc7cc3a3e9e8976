"""The command line: `functorch-artifact`, or `python -m functorch_artifact`.

Belongs here: commands, their options, exit statuses. Does not: what they do (`runs.reader`,
`tracking`, `cli.doctor`) or how it looks (`cli.terminal`).
Floor 11.

`click` reads the options and `rich` draws the tables; both come with the extra `cli`. Everything
else is imported by the command that needs it, so that `--help` answers at once. What cannot be
done is one message on standard error and exit status 1; what was asked wrongly, exit status 2.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from functorch_artifact.errors import FunctorchArtifactError, MissingExtraError, RunDirectoryError

if TYPE_CHECKING:
    import click  # pyright: ignore[reportMissingImports] - an extra

    from functorch_artifact.cli.terminal import Terminal
    from functorch_artifact.runs.reader import RunReader

_NAME: Final = "functorch-artifact"
_TARGETS: Final = """\b
WHERE is a kind of client and where it stores:
  filesystem:DIR                          files a person can read
  tensorboard:DIR                         event files
  mlflow:URI?experiment=NAME              a server, or sqlite:///FILE
  clearml:PROJECT?offline=true            and so on: KIND:WHERE?OPTION=VALUE&...
Done again, it sends only what is new. docs/command-line.md lists all kinds and options."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Args:
        arguments: instead of those of the process.
    """
    try:
        group = commands()
    except ModuleNotFoundError as error:
        sys.exit(f"Error: {_lacking(error)}")
    group.main(args=None if arguments is None else list(arguments), prog_name=_NAME)


def commands() -> click.Group:
    """Make the group of all commands.

    Raises:
        ModuleNotFoundError: `click` is not installed.
    """
    import click  # pyright: ignore[reportMissingImports]

    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    run, many = click.Argument(["run"], type=folder), click.Argument(["runs"], type=folder, nargs=-1, required=True)
    group = click.Group(
        _NAME,
        help="Look at runs of functorch_artifact, whether they go on or have ended, and send them elsewhere.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    parameters: Sequence[click.Parameter]
    for name, does, parameters, text in (
        ("runs", _runs, [click.Argument(["directory"], type=folder, default=".")], "List the runs below DIRECTORY."),
        ("show", _show, [run], "Show a run's scores and what else it recorded."),
        ("compare", _compare, [many], "Put runs side by side: parameters that differ, and scores."),
        (
            "sync",
            _sync,
            [run, click.Option(["--to", "target"], required=True, metavar="WHERE", help="who takes the records")],
            f"Give a tracking client what it has not got of a run.\n\n{_TARGETS}",
        ),
        (
            "report",
            _report,
            [
                run,
                click.Option(
                    ["-o", "--output"],
                    type=click.Path(dir_okay=False, path_type=Path),
                    default=Path("report.html"),
                    show_default=True,
                    help="the file to write",
                ),
            ],
            "Write a run as one self-contained HTML page.",
        ),
        ("doctor", _doctor, [], "Say what this machine offers a run."),
    ):
        group.add_command(click.Command(name, callback=_telling(does), params=list(parameters), help=text))
    group.params.append(
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Say it and exit."
        )
    )
    return group


def _runs(directory: Path) -> None:
    if not _terminal().runs(_found(directory)):
        raise RunDirectoryError(
            "holds no run", where=str(directory), fix="name a folder that fit(..., run=...) wrote to, or one above"
        )


def _show(run: Path) -> None:
    from functorch_artifact.runs.reader import RunReader

    with RunReader(run) as reader:
        _terminal().show(reader)


def _compare(runs: Sequence[Path]) -> None:
    from functorch_artifact.runs.reader import RunReader

    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(RunReader(run)) for run in runs]
        names = [reader.name for reader in readers]
        labels = names if len(set(names)) == len(names) else [str(run) for run in runs]
        _terminal().compare(dict(zip(labels, readers, strict=True)))


def _sync(run: Path, target: str) -> None:
    from functorch_artifact.runs.reader import RunReader
    from functorch_artifact.tracking import client_of, sync

    client = client_of(target)
    try:
        offered = sync(run, client)
    except FunctorchArtifactError:
        raise
    except Exception as error:  # whatever a backend raises
        raise _CommandError(f"{client.name} cannot take the records: {type(error).__name__}: {error}") from error
    with RunReader(run) as reader:
        refused = reader.owed.get(client.name, 0)
    if refused:
        raise _CommandError(f"{client.name} took {offered - refused} of {offered} records and refused {refused}")
    _terminal().say(f"{client.name} took {offered} records" if offered else f"{client.name} has everything already")


def _report(run: Path, output: Path) -> None:
    from functorch_artifact.runs.reader import RunReader

    with RunReader(run) as reader:
        written = reader.to_html(output).absolute()
    _terminal().say(f"wrote {written} ({written.stat().st_size / 2**20:.1f} MiB); open it in a browser")


def _doctor() -> None:
    from functorch_artifact.cli import doctor

    _terminal().doctor(doctor.examine())


class _CommandError(Exception):
    """What a command could not do, said to the end."""


def _found(directory: Path) -> Iterator[tuple[str, RunReader | Exception]]:
    """Open the runs below a directory, one at a time, by path; a run holds no others."""
    from functorch_artifact.runs.reader import RunReader
    from functorch_artifact.tracking.journal_reader import FILE

    for folder, below, files in os.walk(directory):
        below.sort()
        if FILE in files:
            below.clear()
            name = os.path.relpath(folder, directory)
            try:
                reader = RunReader(folder)
            except (FunctorchArtifactError, OSError, sqlite3.Error) as error:
                yield name, error
            else:
                with reader:
                    yield name, reader


def _telling(does: Callable[..., None]) -> Callable[..., None]:
    """Make what a command raises on purpose one message, and a warning one line."""

    @functools.wraps(does)
    def command(**options: Any) -> None:
        import click  # pyright: ignore[reportMissingImports]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what backends warn developers of
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_, **__: click.echo(f"Warning: {message}", err=True)
            try:
                does(**options)
            except ModuleNotFoundError as error:
                raise click.ClickException(_lacking(error)) from error
            except (_CommandError, FunctorchArtifactError, OSError, sqlite3.Error) as error:
                raise click.ClickException(str(error)) from error

    return command


def _lacking(error: ModuleNotFoundError) -> str:
    """Say what to install, if it is one of the packages that draw and read options."""
    package = (error.name or "").partition(".")[0]
    if package not in ("click", "rich"):
        return str(error)
    return str(MissingExtraError(package, extra="cli", purpose="the command line"))


def _terminal() -> Terminal:
    from functorch_artifact.cli.terminal import Terminal

    return Terminal()


def _version(context: click.Context, _: Any, wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        import click  # pyright: ignore[reportMissingImports]

        try:
            version = importlib.metadata.version(_NAME)
        except importlib.metadata.PackageNotFoundError:
            version = "used from its source, not installed"
        click.echo(f"{_NAME} {version}")
        context.exit()

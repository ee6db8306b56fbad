"""The command line: `main` runs a command and turns every end into an exit code."""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

OK, FAILURE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
STOPPED = "Stopped; no unfinished file stands under its final name."


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``napari-zssr``; arguments and exit code as in `run`."""
    return run(_command, "napari-zssr", argv)


def run(
    command: Callable[[], Any], program: str, argv: Sequence[str] | None = None
) -> int:
    """Run a program; every end is an exit code, and a sentence if it failed.

    Parameters
    ----------
    command : callable
        Gives its click command.
    program : str
        What it is called by.
    argv : sequence of str, optional
        Arguments, those of the process unless given.

    Returns
    -------
    int
        0 done, 1 failed, 2 the input or the command cannot be used, 130 stopped
        by Ctrl-C.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments or _wants_debug()
    arguments = [word for word in arguments if word != "--debug"]
    _tolerate_any_text()
    try:
        with _warnings_as_notes():
            code = _code(command, program, arguments)
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 the last resort
        if debug:
            traceback.print_exc()
        code, sentence = exit_status(error, program)
        _say(sentence)
        return code
    if code == INTERRUPTED:
        _say(STOPPED)
    return code


def _command() -> Any:
    # imported here, so that Ctrl-C during the imports ends in a sentence as well
    from napari_zssr.cli.app import command

    return command()


def _code(command: Callable[[], Any], program: str, arguments: list[str]) -> int:
    try:
        code = command().main(args=arguments, prog_name=program, standalone_mode=False)
    except SystemExit as end:
        code = end.code
    return code if isinstance(code, int) else OK


@contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Print what was assumed of an image as one sentence, without a place in code."""
    from napari_zssr.errors import ImageWarning

    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, ImageWarning):
                _say(_one_line(str(message)))
            else:
                usual(message, category, filename, lineno, file, line)

        warnings.simplefilter("always", ImageWarning)
        warnings.showwarning = show
        yield


def exit_status(error: BaseException, program: str = "napari-zssr") -> tuple[int, str]:
    """Exit code and sentence for what ended a command.

    Parameters
    ----------
    error : BaseException
        Whatever it is.
    program : str
        What the program is called by.
    """
    import typer

    from napari_zssr.errors import Cancelled, InputError, ZSSRError, internal_error

    if _interrupted(error) or isinstance(error, Cancelled | typer.Abort):
        return INTERRUPTED, STOPPED
    if isinstance(error, ZSSRError):
        code = BAD_INPUT if isinstance(error, InputError) else FAILURE
        return code, _one_line(str(error))
    if hasattr(error, "format_message"):
        hint = f"see `{program} --help`"
        return BAD_INPUT, f"{_one_line(error.format_message()).rstrip('.')}; {hint}."
    if isinstance(error, MemoryError):
        return FAILURE, "The memory of this machine did not suffice; close programs."
    return FAILURE, internal_error(error)


def _interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C stands at the root, as when it hits the import of a library."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _one_line(text: str, longest: int = 400) -> str:
    words = " ".join(text.split())
    return words if len(words) <= longest else words[: longest - 1] + "\u2026"


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def _tolerate_any_text() -> None:
    """Let names that the terminal's encoding lacks show as question marks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _wants_debug() -> bool:
    return os.environ.get("NAPARI_ZSSR_DEBUG", "") not in {"", "0"}

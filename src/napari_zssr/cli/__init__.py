"""The command line: `main` runs a command and turns every outcome into an exit code."""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

OK, FAILURE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
STOPPED = "Stopped; no incomplete file was written under the final name."


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``napari-zssr``; arguments and exit code as in `run`."""
    return run(_command, "napari-zssr", argv)


def run(
    command: Callable[[], Any], program: str, argv: Sequence[str] | None = None
) -> int:
    """Run the click command that `command` returns, and return its exit code.

    0 is success, 1 a failure, 2 input or arguments that cannot be used, 130 Ctrl-C;
    all but the first print one sentence. `argv` defaults to that of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    debug |= os.environ.get("NAPARI_ZSSR_DEBUG", "") not in {"", "0"}
    arguments = [word for word in arguments if word != "--debug"]
    # Characters that the terminal's encoding lacks show as question marks.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        with _warnings_as_sentences():
            code = command().main(
                args=arguments, prog_name=program, standalone_mode=False
            )
    except SystemExit as end:
        code = end.code
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 the last resort
        if debug:
            traceback.print_exc()
        code, sentence = exit_status(error, program)
        _print(sentence)
        return code
    if code == INTERRUPTED:
        _print(STOPPED)
    return code if isinstance(code, int) else OK


def _command() -> Any:
    # Imported late, so that Ctrl-C during the imports ends in a sentence as well.
    from napari_zssr.cli.app import command

    return command()


@contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    """Print what was assumed of an image without the line of code that warned."""
    from napari_zssr.errors import ImageWarning

    with warnings.catch_warnings():
        default = warnings.showwarning

        def show(
            message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any
        ) -> None:
            if issubclass(category, ImageWarning):
                _print(_one_line(str(message)))
            else:
                default(message, category, *args, **kwargs)

        warnings.simplefilter("always", ImageWarning)
        warnings.showwarning = show
        yield


def exit_status(error: BaseException, program: str = "napari-zssr") -> tuple[int, str]:
    """Exit code and sentence for the error that ended a command."""
    import typer

    from napari_zssr.errors import (
        Cancelled,
        InputError,
        ZSSRError,
        internal_error,
        is_out_of_memory,
    )

    if _is_interrupted(error) or isinstance(error, Cancelled | typer.Abort):
        return INTERRUPTED, STOPPED
    if isinstance(error, ZSSRError):
        code = BAD_INPUT if isinstance(error, InputError) else FAILURE
        return code, _one_line(str(error))
    if hasattr(error, "format_message"):
        hint = f"see `{program} --help`"
        return BAD_INPUT, f"{_one_line(error.format_message()).rstrip('.')}; {hint}."
    if is_out_of_memory(error):
        return FAILURE, (
            "This computer ran out of memory; close other programs, or enlarge a part."
        )
    return FAILURE, internal_error(error)


def _is_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is the cause, as when it hits the import of a library."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _one_line(text: str, length: int = 400) -> str:
    words = " ".join(text.split())
    return words if len(words) <= length else words[: length - 1] + "\u2026"


def _print(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")

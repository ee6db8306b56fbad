"""Code blocks of the pages, and what runs them: Python, bash and the command line."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from glob import glob
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from test_beads import LONELY, beads
from test_cli_kernel import write_cells

from napari_zssr import ImageStack, read, write
from napari_zssr.cli import main
from napari_zssr.stack.axis_labels import labelled

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = ["README.md", "CONTRIBUTING.md"]
PAGES += sorted(path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.md"))
# What a block is written in; "text" is no code.
LANGUAGES = ("python", "sh", "text")
_FENCE = re.compile(
    r"^(?: *<!-- not run: (?P<why>[^\n]+) -->\n)?"
    r"(?P<indent> *)```(?P<language>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
BASH = shutil.which("bash")
REAL = f'exec "{sys.executable}" -m napari_zssr "$@"'
# Options that are refused beside --overwrite.
_RESUMED = ("--skip-existing", "--shard")


@dataclass(frozen=True)
class Block:
    """A fenced block of code; `why` says why it cannot be run, where that is so."""

    page: str
    line: int
    language: str
    code: str
    why: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    """All blocks of a page, which is named from the root of the repository."""
    text = (ROOT / page).read_text("utf-8")
    return [
        Block(
            page=page,
            line=text[: found.start("language")].count("\n") + 1,
            language=found["language"],
            code=textwrap.dedent(found["code"]),
            why=found["why"],
        )
        for found in _FENCE.finditer(text)
    ]


def code_blocks(page: str, language: str) -> list[str]:
    """Code of one language on a page of docs/, block by block, as far as it can run."""
    return [
        block.code
        for block in blocks(f"docs/{page}")
        if block.language == language and block.why is None
    ]


# ---- The images that pages speak of


def bundled(name: str, size: int = 40, planes: int = 2) -> ImageStack:
    """A small piece of a bundled image."""
    stack = read(Path(str(files("napari_zssr"))) / "data" / f"{name}.ome.tif")
    cut = stack.data[:planes, 140 : 140 + size, 110 : 110 + size].copy()
    return replace(stack, data=cut, channels=stack.channels[:2])


def _plane(path: str) -> None:
    data = bundled("cells").data[0]
    write(path, labelled(data, axes="YX", spacing=0.1))


def _fine(path: str) -> None:
    """A truth, in the pixels of a result of twice the size."""
    data = bundled("cells").data[0].repeat(2, 0).repeat(2, 1)
    write(path, labelled(data, axes="YX", spacing=0.05))


def _stack(path: str) -> None:
    """Six slices that lie apart, so that they can become more."""
    data = bundled("mitosis", planes=6).data
    write(path, labelled(data, axes="ZYX", spacing=(0.3, 0.1, 0.1)))


def _beads(path: str) -> None:
    data = beads(LONELY, [900, 700, 500, 800]).astype(np.uint16)
    write(path, labelled(data, axes="ZYX", spacing=(0.3, 0.1, 0.1)))


IMAGES: dict[str, Callable[[str], None]] = {
    "cells.ome.tif": write_cells,
    "cells.tif": _plane,
    "sister.tif": _plane,
    "plain.tif": _plane,
    "fine.tif": _fine,
    "stack.ome.tif": _stack,
    "stack.tif": _stack,
    "beads.tif": _beads,
    "stacks/a.tif": _stack,
    "stacks/b.ome.tif": _stack,
}


def provide(page: str) -> None:
    """Write the images that a page names into the working folder."""
    code = "\n".join(block.code for block in blocks(page))
    for name, make in IMAGES.items():
        folder = name.rpartition("/")[0]
        if folder:
            named = re.search(rf"\b{folder}\b", code)
        else:
            named = re.search(rf"(?<![\w/.]){re.escape(name)}\b", code)
        if named:
            Path(name).parent.mkdir(exist_ok=True)
            make(name)


# ---- What runs them


def run_python(block: Block, names: dict[str, object]) -> None:
    """Run Python, with the names that blocks before it have left.

    What only runs as a script, since it starts other processes, runs as one.
    """
    if "__main__" not in block.code:
        exec(compile(block.code, str(block), "exec"), names)
        return
    Path("script.py").write_text(block.code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{block}\n{done.stderr}"
    sys.stdout.write(done.stdout)


def promised(block: Block) -> list[str]:
    """What a block of Python prints, as its comments say."""
    return re.findall(r"^ *print\(.*\)  # (.*)$", block.code, re.MULTILINE)


def run_shell(block: Block) -> None:
    """Run commands, in this process where they are all of our own: a start is slow."""
    lines = list(_logical_lines(block.code))
    if any(re.search(r"[|;<>$&]", line) for line in lines):
        said = in_bash(f"set -e\n{{ {block.code}}} 2> told.txt\necho ran", REAL)
        assert said[-1:] == ["ran"], str(block)
        return
    for line in lines:
        program, *words = shlex.split(line, comments=True)
        assert program == "napari-zssr", f"{block}: {line}"
        given = [name for word in words for name in _expanded(word)]
        # Lines that are alternatives write the same file.
        if given[0] in ("upscale", "check", "kernel") and not {*given} & {*_RESUMED}:
            given.append("--overwrite")
        assert main(given) == 0, f"{block}: {line}"


def _logical_lines(code: str) -> Iterator[str]:
    for line in code.replace("\\\n", " ").splitlines():
        if shlex.split(line, comments=True):
            yield line


def _expanded(word: str) -> list[str]:
    return sorted(glob(word)) if "*" in word else [word]


def in_bash(script: str, program: str, **variables: str) -> list[str]:
    """Lines that a script says, with a program of our own as ``napari-zssr``."""
    if sys.platform == "win32" or BASH is None:
        pytest.skip("no bash")
    place = Path("bin").resolve()
    place.mkdir(exist_ok=True)
    (place / "napari-zssr").write_text(f"#!{BASH}\n{program}\n")
    (place / "napari-zssr").chmod(0o755)
    path = f"{place}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [BASH, "-c", script],
        env=os.environ | {"PATH": path} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()

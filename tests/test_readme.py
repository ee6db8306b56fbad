"""What the README shows in Python runs as shown."""

from __future__ import annotations

import re

import pytest
from conftest import code_blocks

BLOCKS = code_blocks("../README.md", "python")


def test_there_is_something_to_run() -> None:
    assert BLOCKS


@pytest.mark.parametrize("block", BLOCKS)
def test_the_readme_runs(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, "README.md", "exec"), {})
    promised = re.findall(r"print\(.*\)  # (.*)", block)
    assert capsys.readouterr().out.splitlines() == promised

from __future__ import annotations

import errno
import math
import os
import pickle
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_zssr import atomic
from napari_zssr.errors import ComputeError, InputError
from napari_zssr.execution.ledger import Ledger, remove_run

CONFIG: dict[str, Any] = {"preset": "fast", "seed": 0, "kernel": {"sigma": [1.0, 1.5]}}
IDENTITY = {"config": CONFIG, "input": "0123456789abcdef", "shape": (4, 20, 30)}
RUN = '{"program": "napari-zssr", "identity": {}}'


@dataclass(frozen=True, kw_only=True)
class Other:
    """Settings that differ from those above, and all that is told of it."""

    asked: dict[str, Any]
    told: str


OTHERS = (
    Other(asked={"config": CONFIG | {"seed": 3}}, told="config.seed 0, not 3"),
    Other(
        asked={"config": CONFIG | {"kernel": {"sigma": [1, 2]}}},
        told="config.kernel.sigma [1.0, 1.5], not [1, 2]",
    ),
    Other(asked={"shape": [4, 20, 31]}, told="shape [4, 20, 30], not [4, 20, 31]"),
    Other(asked={"tile": 256}, told="tile null, not 256"),
    Other(asked={"tile": None}, told="tile null, not null"),
    Other(
        asked={"input": "x" * 99},
        told=f'input "0123456789abcdef", not "{"x" * 56}...',
    ),
    Other(
        asked={"a": 1, "b": 2, "c": 3, "shape": [], "config": {}},
        told="config.preset \"fast\", not null; config.seed 0, not null; "
        "config.kernel {\"sigma\": [1.0, 1.5]}, not null and 4 other settings",
    ),
)  # fmt: skip


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.told)
def test_other_settings_are_refused(tmp_path: Path, other: Other) -> None:
    part = tmp_path / "a.part"
    Ledger.begin(part, IDENTITY).record(1, {"gain": 1.0})
    with pytest.raises(InputError) as told:
        Ledger.begin(part, IDENTITY | other.asked)
    begun = (
        f"The unfinished run in {part} was started with {other.told}; finish it with "
    )
    assert str(told.value).startswith(begun)
    assert Ledger.begin(part, IDENTITY).finished() == {1: {"gain": 1.0}}
    assert Ledger.begin(part, IDENTITY, overwrite=True).finished() == {1: {"gain": 1.0}}
    new = Ledger.begin(part, IDENTITY | other.asked, overwrite=True)
    assert new.finished() == {}
    assert os.listdir(tmp_path) == ["a.part"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "is not an unfinished run"),
        ("", "is damaged"),
        ("[1]", "is damaged"),
        (RUN[:-9], "is damaged"),
        ('{"program": "napari-zssr"}', "is damaged"),
        ('{"program": "other", "identity": {}}', "another program"),
        ('{"identity": {}}', "another program"),
    ],
)
def test_what_is_no_run_is_left_alone(
    tmp_path: Path, content: str | None, told: str
) -> None:
    part = tmp_path / "a.part"
    part.mkdir()
    (part / "precious").write_text("mine")
    if content is not None:
        (part / "run.json").write_text(content)
    for overwrite in (False, True):
        with pytest.raises(InputError, match=told):
            Ledger.begin(part, {}, overwrite=overwrite)
    with pytest.raises(InputError, match=told):
        remove_run(part)
    assert (part / "precious").read_text() == "mine"
    assert os.listdir(tmp_path) == ["a.part"]


def test_reports_come_back(tmp_path: Path) -> None:
    ledger = Ledger.begin(tmp_path / "a.part", IDENTITY)
    report = {"gain_db": 0.1 + 0.2, "noise": math.inf, "said": "\u00b1 1", "none": None}
    ledger.record(12, report)
    ledger.record(3, {"seconds": np.float32(0.5), "steps": np.arange(2)})
    ledger.record(3, {"seconds": 2})
    ledger.record(1_234_567, {})
    again = pickle.loads(pickle.dumps(Ledger.begin(tmp_path / "a.part", IDENTITY)))
    assert again.finished() == {3: {"seconds": 2}, 12: report, 1_234_567: {}}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"plane": 3}',
        '{"plane": 4, "report": {}}',
        '{"plane": 3, "report": {',
    ],
)
def test_damaged_entries_count_for_nothing(tmp_path: Path, content: str) -> None:
    ledger = Ledger.begin(tmp_path / "a.part", IDENTITY)
    ledger.record(2, {"steps": 7})
    entries = tmp_path / "a.part" / "ledger"
    (entries / "000003.json").write_text(content)
    assert ledger.finished() == {2: {"steps": 7}}
    assert os.listdir(entries) == ["000002.json"]


def test_a_rest_of_an_earlier_run_is_removed(tmp_path: Path) -> None:
    rest = tmp_path / ".a.part.gone"
    rest.mkdir()
    (rest / "big").write_text("big")
    Ledger.begin(tmp_path / "a.part", IDENTITY)
    assert os.listdir(tmp_path) == ["a.part"]


@pytest.mark.parametrize(
    ("code", "kind", "told"),
    [
        (errno.ENOSPC, ComputeError, "disk is full .*; free some space and try again"),
        (errno.EROFS, InputError, "cannot be written .*choose another folder"),
        (errno.EACCES, InputError, "cannot be written"),
        (errno.EIO, ComputeError, "could not be written .*what was finished is kept"),
    ],
)
def test_what_is_finished_survives_a_failing_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    kind: type[Exception],
    told: str,
) -> None:
    ledger = Ledger.begin(tmp_path / "a.part", IDENTITY)
    ledger.record(2, {"steps": 7})

    def fail(handle: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as failing:
        failing.setattr(atomic.os, "fsync", fail)
        for number in (2, 3):
            with pytest.raises(kind, match=told):
                ledger.record(number, {"steps": 8})
        with pytest.raises(kind, match=told):
            Ledger.begin(tmp_path / "b.part", IDENTITY)
    assert ledger.finished() == {2: {"steps": 7}}
    assert os.listdir(tmp_path / "a.part" / "ledger") == ["000002.json"]
    assert os.listdir(tmp_path) == ["a.part"]


def use(part: Path, first: int) -> str:
    try:
        ledger = Ledger.begin(part, IDENTITY | {"seed": first % 2})
    except InputError as error:
        return str(error)
    for number in range(first, 40, 4):
        ledger.record(number, {"by": first})
    return ""


def test_processes_share_a_ledger(tmp_path: Path) -> None:
    """Whoever comes second compares; two of the four have another seed."""
    part = tmp_path / "a.part"
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        said = list(pool.map(use, [part] * 4, range(4)))
    won = said.index("") % 2
    assert [bool(text) for text in said] == [i % 2 != won for i in range(4)]
    assert all(f"seed {won}, not {1 - won}" in text for text in said if text)
    found = Ledger.begin(part, IDENTITY | {"seed": won}).finished()
    assert found == {n: {"by": n % 4} for n in range(won, 40, 2)}
    assert os.listdir(tmp_path) == ["a.part"]

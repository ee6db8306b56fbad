"""Tasks here, in processes and on a dask cluster: failures, losses, stopping."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from napari_zssr.errors import ComputeError, InputError, StorageError
from napari_zssr.execution.executors import IN_PROCESS, Workers, run_on_worker
from napari_zssr.execution.scheduler import run_tasks
from napari_zssr.progress import Event, PlaneDone, Progress, Steps, drain

TWO = Workers(processes=2)


@dataclass(frozen=True)
class Square:
    """Squares a number, or does what its mood says."""

    number: int
    folder: Path
    mood: str = ""
    threads: int = 0

    @property
    def name(self) -> str:
        return f"Plane {self.number}"

    def stop_requested(self) -> bool:
        return (self.folder / "stop").exists()

    def steps(self) -> Steps[int]:
        yield Progress(stage="square", step=0, total=1)
        tries = self._count()
        if self.mood == "fails":
            raise ComputeError(f"{self.name} failed.")
        if self.mood == "fails once" and tries == 1:
            raise ComputeError(f"{self.name} failed.")
        if self.mood == "odd":
            raise KeyError("odd")
        if self.mood == "disk full":
            raise StorageError("The disk is full.")
        if self.mood == "bad input":
            raise InputError("The image is gone.")
        if self.mood == "dies" or (self.mood == "dies once" and tries == 1):
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        for step in range({"slow": 40, "long": 600}.get(self.mood, 0)):
            time.sleep(0.05)
            yield Progress(stage="square", step=step, total=600)
        return self.number**2

    def _count(self) -> int:
        """How often this was begun, in whichever process."""
        mine = self.folder / f"{self.number}-{os.getpid()}-{time.monotonic_ns()}"
        mine.touch()
        return len(list(self.folder.glob(f"{self.number}-*")))


def done(number: int, result: Any) -> Event:
    return PlaneDone(plane=number, planes=result, index=())


def results(events: list[Event]) -> dict[int, int]:
    return {e.plane: e.planes for e in events if isinstance(e, PlaneDone)}


def run(tasks: list[Square], workers: Workers) -> tuple[dict[int, int], Any]:
    events: list[Event] = []
    failures = drain(run_tasks(tasks, workers, done), events.append)
    return results(events), failures


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0"
        ) as local,
        distributed.Client(local, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(params=["here", "processes", "cluster"])
def workers(request: pytest.FixtureRequest) -> Workers:
    if request.param == "cluster":
        return Workers(client=request.getfixturevalue("cluster"))
    return IN_PROCESS if request.param == "here" else TWO


def test_every_task_is_done_and_told(workers: Workers, tmp_path: Path) -> None:
    tasks = [Square(n, tmp_path) for n in range(5)]
    assert run(tasks, workers) == ({n: n**2 for n in range(5)}, ())


def test_one_that_fails_for_good_does_not_keep_the_others(
    workers: Workers, tmp_path: Path
) -> None:
    moods = ["", "fails", "", "fails once"]
    tasks = [Square(n, tmp_path, mood) for n, mood in enumerate(moods)]
    made, failures = run(tasks, workers)
    assert made == {0: 0, 2: 4, 3: 9}
    assert [(f.task, f.sentence) for f in failures] == [(1, "Plane 1 failed.")]
    assert len(list(tmp_path.glob("1-*"))) == 2


@pytest.mark.parametrize(
    ("mood", "kind"), [("disk full", StorageError), ("bad input", InputError)]
)
def test_what_no_other_task_could_do_better_ends_the_run(
    workers: Workers, tmp_path: Path, mood: str, kind: type[Exception]
) -> None:
    others = [Square(n, tmp_path, "slow") for n in range(1, 12)]
    tasks = [Square(0, tmp_path, mood), *others]
    with pytest.raises(kind):
        drain(run_tasks(tasks, workers, done, stop=(tmp_path / "stop").touch))
    assert len(list(tmp_path.glob("*-*"))) < 12


def test_an_unexpected_error_becomes_a_sentence(tmp_path: Path) -> None:
    _, failures = run([Square(7, tmp_path, "odd")], TWO)
    assert failures[0].sentence == "Plane 7 failed: KeyError, 'odd'."


@pytest.mark.parametrize("workers", ["processes", "cluster"], indirect=True)
def test_a_worker_that_is_killed_is_replaced(workers: Workers, tmp_path: Path) -> None:
    tasks = [Square(n, tmp_path, "dies once" if n == 1 else "") for n in range(6)]
    made, failures = run(tasks, workers)
    assert (made, failures) == ({n: n**2 for n in range(6)}, ())


def test_a_task_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    tasks = [Square(n, tmp_path, "dies" if n == 0 else "") for n in range(3)]
    _, failures = run(tasks, Workers(processes=1))
    assert [f.task for f in failures] == [0]
    assert "killed" in failures[0].sentence


@pytest.mark.parametrize("workers", ["processes", "cluster"], indirect=True)
def test_closing_drops_what_waits_and_stops_what_runs(
    workers: Workers, tmp_path: Path
) -> None:
    tasks = [Square(n, tmp_path, "long") for n in range(12)]
    steps = run_tasks(tasks, workers, done, stop=(tmp_path / "stop").touch)
    began = time.monotonic()
    while not list(tmp_path.glob("*-*")):
        next(steps)
        assert time.monotonic() - began < 60
    stopped = time.monotonic()
    steps.close()
    assert time.monotonic() - stopped < 15
    assert len(list(tmp_path.glob("*-*"))) < 12


def test_its_neighbours_are_not_blamed(tmp_path: Path) -> None:
    """All tasks of a pool end with it, whoever has killed a process."""
    moods = ["dies", "slow", "slow", "slow"]
    tasks = [Square(n, tmp_path, mood) for n, mood in enumerate(moods)]
    made, failures = run(tasks, Workers(processes=2, retries=0))
    assert made == {1: 1, 2: 4, 3: 9}
    assert [f.task for f in failures] == [0]


SCRIPT = """
from pathlib import Path
from test_schedule import TWO, Square, run
{guard}run([Square(0, Path("."))], TWO)
"""


def test_a_script_without_a_guard_is_told_what_it_lacks(tmp_path: Path) -> None:
    for guard in ("", "if __name__ == '__main__': "):
        script = tmp_path / "script.py"
        script.write_text(SCRIPT.format(guard=guard))
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        ended = subprocess.run(
            [sys.executable, str(script)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        told = "put the call under" in (ended.stderr.splitlines() or [""])[-1]
        assert (ended.returncode, told) == ((0, False) if guard else (1, True))


def test_threads_are_given_back(tmp_path: Path) -> None:
    import torch

    before = torch.get_num_threads()
    steps = run_tasks(
        [Square(0, tmp_path, "long", threads=before + 1)], IN_PROCESS, done
    )
    next(steps)
    assert torch.get_num_threads() == before + 1
    steps.close()
    assert torch.get_num_threads() == before


TOO_MANY = [
    {"processes": -1},
    {"processes": 1.5},
    {"retries": -1},
    {"processes": 2, "scheduler": "tcp://a:1"},
    {"scheduler": "tcp://a:1", "client": object()},
]


@pytest.mark.parametrize("given", TOO_MANY, ids=" ".join)
def test_workers_that_make_no_sense(given: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Workers(**given)


def test_closing_here_ends_the_task_that_runs(tmp_path: Path) -> None:
    steps = run_tasks([Square(0, tmp_path, "long")], IN_PROCESS, done)
    next(steps)
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)


def test_a_scheduler_that_does_not_answer_is_named(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    workers = Workers(scheduler="tcp://127.0.0.1:9")
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9"):
        run([Square(0, tmp_path)], workers)


def test_a_question_is_answered_where_the_tasks_run(cluster: Any) -> None:
    assert run_on_worker(IN_PROCESS, os.getpid) == os.getpid()
    assert run_on_worker(Workers(client=cluster), os.getpid) != os.getpid()

"""Who does the tasks of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from napari_zssr.checks import checked_whole
from napari_zssr.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Who does the tasks.

    Attributes
    ----------
    processes : int
        Processes on this machine; 0 does them in this one, one after the other.
    scheduler : str
        Address of a dask scheduler, such as ``tcp://node1:8786``, or the name of the
        file that tells it; empty for none.
    client : distributed.Client, optional
        A client that is connected already.
    retries : int
        How often a task that failed is tried again.
    devices : tuple of str
        Devices that processes on this machine share out, one each in turn.

    Raises
    ------
    InputError
        A number is no whole number from 0 up, or there is more than one of processes,
        scheduler and client.
    """

    processes: int = 0
    scheduler: str = ""
    client: Any = None
    retries: int = 1
    devices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked_whole("workers", self.processes, 0)
        checked_whole("retries", self.retries, 0)
        given = (self.processes > 0, bool(self.scheduler), self.client is not None)
        if sum(given) > 1:
            raise InputError(
                "Worker processes of this machine and a dask cluster were both asked "
                "for; give workers, a scheduler or a client."
            )

    @property
    def elsewhere(self) -> bool:
        """Whether tasks run in other processes."""
        return bool(self.processes or self.on_cluster)

    @property
    def on_cluster(self) -> bool:
        """Whether tasks run on a dask cluster."""
        return bool(self.scheduler) or self.client is not None


HERE = Workers()

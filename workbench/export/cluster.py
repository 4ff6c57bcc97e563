"""Tasks on a Ray cluster: actors hold what computes them, such as a model that reads parts; results come in order."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

import torch

from ..errors import UnsupportedError

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_AHEAD = 2  # tasks per worker that are being done or wait to be taken: bounds memory here
RETRIES = 3  # times a task is started again after its worker died
CONNECT_TIMEOUT = 5.0  # seconds for a cluster to accept a connection
_GIVE = "start one with `ray start --head` and give its HOST:PORT, or give `local`"


class Worker(Generic[Task, Result]):
    """An actor that does tasks. It keeps no state between them, so a restarted one continues."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)  # the CPUs it is given; Ray may set one
        self._act: Callable[[Task], Result] | None = None

    def act(self, task: Task, sent: list[Any]) -> Result:
        """The result of one task; ``sent`` holds the reference of what does it, which is fetched once."""
        if self._act is None:
            import ray

            self._act = ray.get(sent[0])
        return self._act(task)


def on_cluster(
    tasks: Iterable[Task],
    act: Callable[[Task], Result],
    address: str,
    workers: int,
    while_waiting: Callable[[], None],
    named: Callable[[Task], str],
    threads: int | None = None,
) -> Iterator[tuple[Task, Result]]:
    """Yield each task and what ``act`` returns for it, in order; one whose worker dies is started again.

    Args:
        tasks: taken as there is room, so that only a few per worker are held.
        act: sent to every worker once, together with what it holds.
        address: of a Ray cluster, or ``local`` for one on this machine that ends with the work.
        workers: actors.
        while_waiting: called about every second until the next task is done; what it raises ends all work.
        named: what a message calls a task.
        threads: of each actor, and the CPUs it takes; by default as many as this process has.

    Raises:
        UnsupportedError: Ray is not installed, no cluster answers, it has too few CPUs, or a task kills its workers.
    """
    threads = threads or torch.get_num_threads()
    with _cluster(address, workers * threads) as ray:
        actor = ray.remote(num_cpus=threads, max_restarts=-1, max_task_retries=RETRIES)(Worker)
        sent = [ray.put(act)]
        actors = [actor.remote(threads) for _ in range(workers)]
        idle, left, busy, waiting = list(actors), iter(tasks), {}, deque[tuple[Task, Any]]()
        try:
            while True:
                while idle and len(waiting) < TASKS_AHEAD * workers and (task := next(left, None)) is not None:
                    worker = idle.pop()
                    waiting.append((task, worker.act.remote(task, sent)))
                    busy[waiting[-1][1]] = worker
                if not waiting:
                    return
                if waiting[0][1] in busy:
                    while_waiting()
                    for done in ray.wait(list(busy), timeout=1)[0]:
                        idle.append(busy.pop(done))
                else:
                    task, reference = waiting.popleft()
                    yield task, _result(ray, named(task), reference)
        finally:
            for worker in actors:  # they would go on writing
                ray.kill(worker)


def _result(ray: Any, name: str, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:  # the same error here as in one process
        raise error.cause from None
    except ray.exceptions.RayActorError as error:
        raise UnsupportedError(
            f"{name} killed their worker {RETRIES + 1} times; is its memory full? Continue with --resume and fewer "
            "workers."
        ) from error


@contextmanager
def _cluster(address: str, cpus: int) -> Iterator[Any]:
    """Ray, connected to a cluster; an existing connection is used and left open."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UnsupportedError("--ray needs Ray; pip install 'monet-workbench[ray]'.") from error
    connected = ray.is_initialized()
    if not connected:
        _connect(ray, address, cpus)
    try:
        if (there := ray.cluster_resources().get("CPU", 0)) < cpus:  # an actor without room would wait for ever
            raise UnsupportedError(f"the workers need {cpus} CPUs, and the Ray cluster {address} has {there:g}.")
        yield ray
    finally:
        if not connected:
            ray.shutdown()


def _connect(ray: Any, address: str, cpus: int) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == "local":
            ray.init(num_cpus=cpus, include_dashboard=False, **quiet)
        else:
            _check_listens(ray, address)
            ray.init(address, **quiet)
    except SystemExit as error:  # Ray's way to say that what listens there is no cluster
        raise UnsupportedError(f"no Ray cluster answers at {address}; {_GIVE}.") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise UnsupportedError(f"no Ray cluster answers at {address} ({error}); {_GIVE}.") from error


def _check_listens(ray: Any, address: str) -> None:
    """Raise OSError where nothing listens, and ValueError for a malformed address; Ray would try for minutes."""
    named = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if named == "auto":  # Ray looks for processes of this machine
        return
    place = urlsplit(named if "://" in named else f"//{named}")
    if not place.hostname or place.port is None:
        raise ValueError("an address is HOST:PORT")
    here = place.hostname in ("localhost", "127.0.0.1", "::1")  # which Ray takes for the machine's address
    host = ray.util.get_node_ip_address() if here else place.hostname
    socket.create_connection((host, place.port), CONNECT_TIMEOUT).close()

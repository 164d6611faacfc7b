"""Several JAX processes on this machine's CPU, which talk over its loopback network."""

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import connection
from typing import Any, NamedTuple, NoReturn

import jax
from jaxlib import _jax
from tqdm import tqdm

from mlr_jax import checks

# How long a signal may go unheeded.
_LOOK_SECONDS = 1.0


class _Worker(NamedTuple):
    """A process on this machine, and where it says why it failed."""

    process: Any
    errors: connection.Connection


def run(work: Callable[[str, int, int], None], num_processes: int, timeout_seconds: float) -> None:
    """Starts processes and waits for them; when one fails, or this one is asked to end, all are stopped.

    Args:
      work: what each does: a function of a module, which takes the address of the first process, how many
        there are, and which of them it is, as `jax.distributed.initialize` wants them. What it raises is the
        error of them all.
      num_processes: how many.
      timeout_seconds: after which they are given up.

    Raises:
      InputError: one has failed, or they took too long.
    """
    noted: list[int] = []

    def leave(number: int, frame: object) -> NoReturn:
        # What is raised here is lost if it happens to meet one of JAX's callbacks: it is noted, too.
        noted.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    # As after Ctrl-C, nothing is to be left running.
    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    address = f"127.0.0.1:{_free_port()}"
    workers: list[_Worker] = []
    try:
        context = multiprocessing.get_context("spawn")
        for process_id in range(num_processes):
            errors, sender = context.Pipe(duplex=False)
            arguments = work, sys.argv, address, num_processes, process_id, sender
            process = context.Process(target=_live, args=arguments, daemon=True)
            process.start()
            sender.close()
            workers.append(_Worker(process, errors))
        _wait(workers, timeout_seconds, noted)
    finally:
        # They have nothing to tidy up, and JAX takes a polite request for a notice of preemption.
        for worker in workers:
            worker.process.kill()
        for worker in workers:
            worker.process.join()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(workers: Sequence[_Worker], timeout_seconds: float, noted: Sequence[int]) -> None:
    deadline = time.monotonic() + timeout_seconds
    running = {worker.process.sentinel: i for i, worker in enumerate(workers)}
    while running:
        left = deadline - time.monotonic()
        ended = connection.wait(list(running), timeout=min(max(left, 0), _LOOK_SECONDS))
        if noted:
            raise SystemExit(128 + noted[0])
        if not ended and left < 0:
            raise checks.InputError(
                f"the processes have not finished in {timeout_seconds:g} seconds and were stopped; "
                "raise --timeout_seconds if they need more"
            )
        for sentinel in ended:
            process_id = running.pop(sentinel)
            process, errors = workers[process_id]
            process.join()
            if process.exitcode != 0:
                try:
                    reason = errors.recv()
                except EOFError:
                    reason = f"ended with exit status {process.exitcode}"
                raise checks.InputError(f"process {process_id}: {reason}; all were stopped")


def _live(
    work: Callable[[str, int, int], None],
    argv: list[str],
    address: str,
    num_processes: int,
    process_id: int,
    errors: connection.Connection,
) -> None:
    """The whole life of a process on this machine."""
    # Ctrl-C reaches all processes of a terminal: it is for the first one to stop the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # Its own lock would be a semaphore, which a process that is killed leaves behind.
    tqdm.set_lock(threading.RLock())
    sys.argv = argv
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if not _knows_itself():  # As a machine without a network may not.
        # JAX has no option for where Gloo listens.
        over_loopback = partial(_jax.make_gloo_tcp_collectives, hostname="127.0.0.1")
        _jax.make_gloo_tcp_collectives = over_loopback
    try:
        work(address, num_processes, process_id)
    except (checks.InputError, OSError) as error:
        errors.send(str(error))
    except BaseException:
        # No more than a pipe holds: nobody reads it before the end.
        errors.send(traceback.format_exc()[-16_000:])
    else:
        return
    # At once: an orderly exit would wait for the others, who wait for this one.
    os._exit(1)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _knows_itself() -> bool:
    """Whether this machine can be reached under its own name, where Gloo listens."""
    try:
        socket.create_server((socket.gethostname(), 0)).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]

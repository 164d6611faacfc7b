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

# Between two checks for signals.
_POLL_SECONDS = 1.0


class _Worker(NamedTuple):
    """A process on this machine, and the pipe for its error message."""

    process: Any
    errors: connection.Connection


def run(work: Callable[[str, int, int], None], num_processes: int, timeout_seconds: float) -> None:
    """Starts processes and waits for them; stops all when one fails or this one gets a signal.

    Args:
      work: a module's function, which each process calls with the address of the first process, the number of
        processes and its own number, as for `jax.distributed.initialize`. If it raises, all are stopped.
      num_processes: to start.
      timeout_seconds: after which they are stopped.

    Raises:
      InputError: one has failed, or they took too long.
    """
    noted: list[int] = []

    def leave(number: int, frame: object) -> NoReturn:
        # One of JAX's callbacks would swallow the exception: the signal is noted, too.
        noted.append(number)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    # SIGTERM, too, must leave no process running.
    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    address = f"127.0.0.1:{_free_port()}"
    workers: list[_Worker] = []
    try:
        context = multiprocessing.get_context("spawn")
        for process_id in range(num_processes):
            errors, sender = context.Pipe(duplex=False)
            arguments = work, sys.argv, address, num_processes, process_id, sender
            process = context.Process(target=_run_work, args=arguments, daemon=True)
            process.start()
            sender.close()
            workers.append(_Worker(process, errors))
        _wait(workers, timeout_seconds, noted)
    finally:
        # Killed: they have nothing to clean up, and JAX takes SIGTERM for a notice of preemption.
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
        ended = connection.wait(list(running), timeout=min(max(left, 0), _POLL_SECONDS))
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


def _run_work(
    work: Callable[[str, int, int], None],
    argv: list[str],
    address: str,
    num_processes: int,
    process_id: int,
    errors: connection.Connection,
) -> None:
    """Runs in a new process: sets it up, calls `work`, and sends its error."""
    # Ctrl-C reaches all processes of a terminal; the first one stops the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # tqdm's own lock is a semaphore, which a killed process would leave behind.
    tqdm.set_lock(threading.RLock())
    sys.argv = argv
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    if not _has_reachable_name():  # A machine without a network may not.
        # JAX has no option for Gloo's address.
        over_loopback = partial(_jax.make_gloo_tcp_collectives, hostname="127.0.0.1")
        _jax.make_gloo_tcp_collectives = over_loopback
    try:
        work(address, num_processes, process_id)
    except (checks.InputError, OSError) as error:
        errors.send(str(error))
    except BaseException:
        # No more than a pipe holds: it is read only after the end.
        errors.send(traceback.format_exc()[-16_000:])
    else:
        return
    # At once: an orderly exit would wait for the others, which wait for this one.
    os._exit(1)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _has_reachable_name() -> bool:
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

"""Starts every experiment, and reports its errors."""

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from absl import app, flags, logging

from experiments.running import compilation_cache, run_folder
from mlr_jax import checks


def run(experiment: Callable[[], None], *, is_compiling_measured: bool = False) -> None:
    """Parses the flags and runs `experiment`; a user's mistake gives one line and exit status 1.

    Args:
      experiment: what the script does.
      is_compiling_measured: if so, only a flag turns on the compilation cache.
    """

    def main(argv: Sequence[str]) -> None:
        try:
            if len(argv) > 1:
                raise checks.InputError(f"unexpected argument {argv[1]!r}; flags begin with --")
            _show_passed_over()
            compilation_cache.start(by_default=not is_compiling_measured)
            experiment()
        except (checks.InputError, OSError) as error:
            run_folder.remove_empty()
            sys.exit(f"error: {error}")
        except SystemExit:
            run_folder.remove_empty()
            raise
        except KeyboardInterrupt:
            run_folder.remove_empty()
            sys.exit("interrupted; what was finished, if anything, is in the output folder")

    # Hides JAX's messages about missing accelerators.
    logging.set_verbosity(logging.WARNING)
    # `--help` shows it with the script's own.
    flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS["compilation_cache"])
    app.run(main)


def _show_passed_over() -> None:
    """Warnings of files that were passed over become one line each."""
    show = warnings.showwarning

    def show_or_note(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
        if issubclass(category, checks.PassedOverWarning):
            print(f"note: {message}", file=sys.stderr)
        else:
            show(message, category, *where, **options)

    warnings.showwarning = show_or_note

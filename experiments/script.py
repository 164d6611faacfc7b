"""How every experiment starts and fails."""

import sys
from collections.abc import Callable, Sequence

from absl import app, logging

from mlr_jax import checks


def run(experiment: Callable[[], None]) -> None:
    """Parses the flags and runs `experiment`; a mistake of the user's is one line and exit status 1."""

    def main(argv: Sequence[str]) -> None:
        try:
            if len(argv) > 1:
                raise checks.InputError(f"unexpected argument {argv[1]!r}; flags begin with --")
            experiment()
        except (checks.InputError, OSError) as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            sys.exit("interrupted; what was finished, if anything, is in the output folder")

    # Looking for accelerators that are not there is no news.
    logging.set_verbosity(logging.WARNING)
    app.run(main)

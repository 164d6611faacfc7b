"""A script that ends as its flag says, for `test_scripts`."""

import atexit
import os
import sys

if __name__ == "__main__":  # Doctests import this module.
    print(__name__, __spec__.name, sys.argv, sys.path[0] == os.getcwd(), "naïve")
    print("to the errors", file=sys.stderr)
    atexit.register(print, "tidied up")
    match sys.argv[1]:
        case "words":
            sys.exit("error: words")
        case "status":
            sys.exit(7)
        case "exception":
            raise ValueError("no words")
        case "killed":
            sys.stdout.flush()
            os.kill(os.getpid(), 9)
        case "computes":
            import jax

            print(jax.numpy.ones(3).sum())

"""A script for tests that compiles one program, and prints how many it loaded and how many it stored."""

import collections

import jax

from experiments.running import script


def main() -> None:
    counts: collections.Counter[str] = collections.Counter()
    jax.monitoring.register_event_listener(lambda event, **_: counts.update([event]))
    print("result", jax.jit(lambda x: 2 * x + 1)(3.0))
    for name in ("cache_hits", "cache_misses"):
        print(name, counts[f"/jax/compilation_cache/{name}"])
    print("folder", jax.config.jax_compilation_cache_dir)


if __name__ == "__main__":  # Doctests import this module.
    script.run(main)

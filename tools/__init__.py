"""Tools for maintainers: other versions of packages, mutants of the mathematics, known vulnerabilities."""

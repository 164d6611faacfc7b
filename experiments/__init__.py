"""Experiments with masked linear regression: one script a question, run as `python -m experiments.NAME`."""

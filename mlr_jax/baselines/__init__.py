"""The regressions that masked ridge is compared with: each a `fit` and a `predict`."""

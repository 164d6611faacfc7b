"""The regressions that masked ridge is compared with: each has a `fit` and a `predict`.

l2_ridge, kernel_ridge, reduced_rank   every output from all inputs
l1_lasso, l0_omp, masked_lsrf          every output from few inputs, which are learned
factored_linear, sparse_linear         the maps that these learn
"""

"""The regressions that masked ridge is compared with.

Each has a `fit` and a `predict`, on flattened pictures:

    l2_ridge, kernel_ridge, reduced_rank   every output from all inputs
    l1_lasso, l0_omp, masked_lsrf          every output from a few inputs, which are learned

`factored_linear` and `sparse_linear` are the linear maps that they learn.
"""

"""Arithmetic that does not depend on faces, windows or masks.

compensated   sums that keep their rounding errors
materialized  results that the compiler computes once, not anew for each use
cholesky      the factorisation of one matrix, to be vmapped
batching      how many outputs a solver takes at once
blurring      Gaussian filters
resizing      pictures of another size
"""

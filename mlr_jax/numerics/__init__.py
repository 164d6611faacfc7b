"""Arithmetic that knows nothing of faces, windows or masks.

compensated   sums that keep what rounding takes from them
materialized  results that the compiler computes once, not anew for each of their readers
cholesky      the factorisation of one matrix, to be vmapped
batching      how many outputs a solver works on at once
blurring      Gaussian filters
resizing      pictures of another size
"""

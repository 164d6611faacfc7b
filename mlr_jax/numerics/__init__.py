"""Arithmetic that knows nothing of faces or masks: how the sums and the systems of many pixels are computed.

compensated    sums that keep what rounding takes from them
lines          pictures as lines, along which loops are fast
strips         pictures in strips of rows, which stay in the cache
pixel_systems  the linear systems of many pixels, the pixel axis last
materialized   results that the compiler must not compute anew for everything that reads them
cholesky       one matrix, to be vmapped
batching       a vmap in parts
"""

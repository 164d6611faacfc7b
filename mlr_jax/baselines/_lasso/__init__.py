"""The lasso's path, for many outputs side by side.

`baselines.l1_lasso` is the public module. It uses

    homotopy    one output: a step along its path, and the certificate of a solution
    lanes       all outputs: a lane that is done takes the next output
    derivative  the derivative of a solution on its support
"""

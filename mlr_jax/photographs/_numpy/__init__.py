"""The whole way from photograph to photograph in NumPy: the same results as in JAX, to rounding.

There are two implementations since each does what the other cannot. JAX compiles for every size anew, and a
photograph has any size and is changed once: compiling takes longer than NumPy takes for all of it. JAX's has
derivatives and goes through `jit` and `vmap`. `expressions` uses NumPy for concrete arrays, and JAX inside a
transformation.

    here          in JAX                                        compared in tests/photographs by
    affine_maps   `alignment`, but for `crop`                   test_numpy_pictures.py
    sampling      `resampling`, `alignment.crop`                test_numpy_pictures.py
    compositing   `photographs.blending.put_back`               test_numpy_pictures.py
    prediction    `synthesis.synthesize`, `warped_ridge.apply`  test_numpy_prediction.py
"""

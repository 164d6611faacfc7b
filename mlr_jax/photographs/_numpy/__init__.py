"""The whole pipeline from photograph to photograph in NumPy: the same results as in JAX, to rounding.

Why two implementations? JAX compiles anew for every size, and photographs come in all sizes: compiling takes
longer than NumPy takes for the whole work. Only JAX has derivatives, `jit` and `vmap`. `expressions` uses
NumPy for concrete arrays, and JAX inside a transformation. Change both together; the tests compare them:

    here          in JAX                                        compared in tests/photographs by
    affine_maps   `alignment`, except `crop`                   test_numpy_pictures.py
    sampling      `resampling`, `alignment.crop`                test_numpy_pictures.py
    compositing   `photographs.blending.put_back`               test_numpy_pictures.py
    prediction    `synthesis.synthesize`, `warped_ridge.apply`  test_numpy_prediction.py
"""

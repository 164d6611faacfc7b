"""Masked linear regression for facial expression synthesis (Khan et al., IJCV 2020), in JAX.

The modules, from the mathematics to the pictures:

    windows       receptive fields that are the same around every pixel: offsets
    masks         receptive fields of any pattern: index tensors
    masked_ridge  the model on flattened arrays: fit, predict
    synthesis     the model on images with channels: fit, or init_statistics, update, solve; synthesize
    model_selection   window and penalty by the error on held-out people, from statistics alone
    warped_ridge  a model that moves pixels, and then changes their colours
    sharding      the same on many devices and on many machines
    metrics       MSE, PSNR, SSIM
    model_file    models on disk
    pretrained    models of a smile, ready to use
    photographs   puts an expression on a face in a photograph
    images        pictures on disk and in memory
    alignment     aligns faces by their landmarks
    displacement, resampling   move the pixels of pictures
    datasets      pairs of pictures: synthetic, london, jaffe, ck_plus, folder, manifest
    baselines     other regressions to compare with
    estimators    the model as a scikit-learn estimator
    window_statistics, window_dual, window_linear   regressions on windows, whose pixels share work
    numerics, checks, array_file, atomic_file   helpers of the others

`import mlr_jax` brings the model; the others are imported by name, such as `from mlr_jax import metrics`.
"""

from mlr_jax import masked_ridge, masks, synthesis

__version__ = "0.2.0"

__all__ = ["masked_ridge", "masks", "synthesis"]

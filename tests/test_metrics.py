import numpy as np
import pytest
from scipy import ndimage
from skimage import metrics as skimage_metrics

from mlr_jax import metrics
from mlr_jax.checks import InputError


@pytest.fixture
def pictures(rng) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.random((3, 24, 20, 3)).astype(np.float32)
    return np.clip(truth + 0.1 * rng.standard_normal(truth.shape), 0, 1).astype(np.float32), truth


def test_agree_with_scikit_image(pictures):
    images, truth = pictures
    for n in range(len(images)):
        arguments = {"image_true": truth[n], "image_test": images[n]}
        assert float(metrics.mse(images, truth)[n]) == pytest.approx(
            np.mean((images[n] - truth[n]) ** 2), rel=1e-5
        )
        assert float(metrics.psnr(images, truth)[n]) == pytest.approx(
            skimage_metrics.peak_signal_noise_ratio(**arguments, data_range=1), rel=1e-5
        )
        _, ssim_map = skimage_metrics.structural_similarity(
            truth[n],
            images[n],
            data_range=1,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=-1,
            full=True,
        )
        inner = ssim_map[5:-5, 5:-5].mean()
        assert float(metrics.ssim(images, truth)[n]) == pytest.approx(inner, rel=1e-4)


def test_sharpness_is_relative_to_the_truth_in_the_middle(pictures):
    images, truth = pictures
    for n in range(len(images)):
        inner = np.s_[3:-3, 2:-2]
        variances = []
        for each in (images, truth):
            luma = np.clip(each[n][inner], 0, 1) @ np.array([0.299, 0.587, 0.114])
            variances.append(np.var(ndimage.laplace(luma)[1:-1, 1:-1]))
        assert float(metrics.sharpness(images, truth)[n]) == pytest.approx(
            variances[0] / variances[1], rel=1e-4
        )
    blurred = ndimage.gaussian_filter(truth, (0, 1, 1, 0))
    assert (np.asarray(metrics.sharpness(blurred, truth)) < 0.2).all()


def test_equal_pictures_have_no_error(pictures):
    _, truth = pictures
    assert (np.asarray(metrics.mse(truth, truth)) == 0).all()
    assert np.isinf(metrics.psnr(truth, truth)).all()
    np.testing.assert_allclose(metrics.ssim(truth, truth), 1, rtol=1e-6)
    np.testing.assert_array_equal(metrics.sharpness(truth, truth), 1)


def test_clear_errors(pictures):
    images, truth = pictures
    with pytest.raises(InputError, match=r"metrics.mse: images are \(2, 24, 20, 3\)"):
        metrics.mse(images[:2], truth)
    with pytest.raises(InputError, match="must have the 4 axes"):
        metrics.psnr(images[0], truth[0])
    with pytest.raises(InputError, match="needs 11 pixels along each side, but pictures are 24 x 8"):
        metrics.ssim(images[:, :, :8], truth[:, :, :8])
    with pytest.raises(InputError, match="laplacian_variance: pictures of 24 x 2 are too small"):
        metrics.laplacian_variance(images[:, :, :2])
    with pytest.raises(TypeError, match="not uint8"):
        metrics.ssim(images.astype(np.uint8), truth.astype(np.uint8))

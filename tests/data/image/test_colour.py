import cv2
import numpy as np

from leukemia.data.image.preprocess import channel_moments, colour_histogram, mean_colour


def smear(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)


def test_the_histogram_counts_each_channel_of_lab_as_numpy_does():
    lab = cv2.cvtColor(smear(), cv2.COLOR_RGB2LAB)
    expected = [np.histogram(lab[..., k], 32, (0, 256))[0] / (30 * 40) for k in range(3)]
    np.testing.assert_allclose(colour_histogram(smear()), np.concatenate(expected), atol=1e-12)


def test_colour_does_not_know_where_a_pixel_lies():
    shuffled = np.random.default_rng(1).permutation(smear().reshape(-1, 3)).reshape(30, 40, 3)
    np.testing.assert_allclose(colour_histogram(smear()), colour_histogram(shuffled))
    np.testing.assert_allclose(mean_colour(smear()), mean_colour(shuffled))


def test_moments_are_those_of_all_pixels_of_the_rows_that_are_named():
    images = np.stack([smear(seed) // (seed + 1) for seed in range(4)])
    mean, std = channel_moments(images, np.array([0, 2, 3]))
    pixels = images[[0, 2, 3]].reshape(-1, 3) / 255
    np.testing.assert_allclose(mean, pixels.mean(0), atol=1e-12)
    np.testing.assert_allclose(std, pixels.std(0), atol=1e-12)


def test_moments_of_even_images_are_numbers():
    mean, std = channel_moments(np.full((2, 8, 8, 3), 200, np.uint8), np.arange(2))
    np.testing.assert_allclose([mean, std], [[200 / 255] * 3, [0] * 3], atol=1e-7)

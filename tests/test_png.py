"""A PNG file holds the pixels that it was made of."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from functorch_artifact import png

SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(4))


def decoded(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        image.verify()
    with Image.open(io.BytesIO(data)) as image:
        return np.array(image)


@given(arrays.arrays(np.uint8, SHAPES))
def test_what_is_decoded_are_the_pixels(pixels):
    found = decoded(png.encode(pixels))
    np.testing.assert_array_equal(found, pixels[:, :, : found.shape[2]])
    assert found.shape[2] == 4 or (pixels[:, :, 3] == 255).all()


@given(arrays.arrays(np.uint8, SHAPES))
def test_opaque_pixels_have_no_opacity(pixels):
    pixels[:, :, 3] = 255
    found = decoded(png.encode(pixels))
    np.testing.assert_array_equal(found, pixels[:, :, :3])


@pytest.mark.parametrize("order", ["C", "F"])
def test_pixels_may_lie_in_memory_as_they_like(order):
    pixels = np.asarray(np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8), order=order)
    np.testing.assert_array_equal(decoded(png.encode(pixels[::-2, ::3])), pixels[::-2, ::3])

"""The noise of an image is its name's; parts of different runs are refused."""

import numpy as np
import pandas as pd
import pytest
import torch

from fedsyn.artifacts import Store
from fedsyn.randomness import generator
from fedsyn.stages.synthesis import load_model
from fedsyn.synthesis.drawing import LatentDiffusion, image_noise
from tests.synthesis.untrained import publish_inputs

IMAGES = pd.DataFrame({"client_id": [3, 3, 1], "class_id": [0, 2, 2], "index": [5, 0, 0]})


def test_noise_is_named_by_client_class_and_index():
    noise = image_noise(7, IMAGES, (2, 3, 3))
    assert noise.shape == (3, 2, 3, 3)
    named = generator(7, "synthesis", "noise", client_id=3, class_id=2, index=0).standard_normal((2, 3, 3), np.float32)
    assert (noise[1] == named).all()
    assert (image_noise(7, IMAGES[1:2], (2, 3, 3))[0] == noise[1]).all()
    assert not (noise[1] == noise[2]).any()


def test_the_noise_of_a_pool_knows_no_client():
    noise = image_noise(7, IMAGES.drop(columns="client_id"), (2, 3, 3))
    assert (noise[1] == noise[2]).all()  # class 2, index 0, both
    named = generator(7, "synthesis", "noise", class_id=2, index=0).standard_normal((2, 3, 3), np.float32)
    assert (noise[1] == named).all()


def test_parts_that_do_not_fit_are_refused(tmp_path):
    model = load_model(publish_inputs(Store(tmp_path)), torch.device("cpu"))
    assert model.latent_shape == (2, 4, 4)
    with pytest.raises(ValueError, match=r"latents of shape \(2, 4, 4\), .* decodes \(2, 4, 4\), .* of 3 channels"):
        LatentDiffusion(model.unet, model.schedule, model.autoencoder, torch.zeros(3), torch.ones(3))
    model.autoencoder.padded = 16
    with pytest.raises(ValueError, match=r"autoencoder decodes \(2, 8, 8\).*`fedsyn run` makes ones that fit"):
        LatentDiffusion(model.unet, model.schedule, model.autoencoder, model.mean, model.std)

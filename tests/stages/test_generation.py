"""Autoencoder, latents and denoiser as stages, on the real digits: what each choice publishes, and what it does not."""

from pathlib import Path

import pytest
import torch
from sklearn.decomposition import PCA

from fedsyn import graph
from fedsyn.artifacts import Artifact
from fedsyn.config import Execution, Experiment
from fedsyn.data.images import to_bytes, to_input
from fedsyn.metrics.reconstruction import structural_similarity
from fedsyn.pipeline import run_stage
from fedsyn.presets import load_experiment
from fedsyn.stages.autoencoder import load_autoencoder
from tests.models.test_codecs import save

STAGES = (graph.DATASET, graph.PARTITION, graph.AUTOENCODER, graph.LATENTS)
TINY = {"autoencoder.rounds": 1, "autoencoder.local_steps": 1, "autoencoder.channels": [8], "partition.num_clients": 3}

LINEAR = {"autoencoder.kind": "linear", "autoencoder.latent_channels": 20}
LINEAR |= {"denoiser.architecture": "mlp", "denoiser.channels": [16]}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("generation")


def run(store: Path, overrides: dict) -> dict[str, Artifact]:
    experiment: Experiment = load_experiment("digits", TINY | overrides)
    execution = Execution(store=str(store), threads=1, engine="sequential", device="cpu")
    manifests: dict = {}
    for stage in STAGES:
        inputs = {name: manifests[name] for name in stage.inputs}
        manifests[stage.name] = run_stage(stage, experiment, execution, inputs).manifest
    return {name: Artifact(store / name / manifest.key, manifest) for name, manifest in manifests.items()}


def latents(artifact: Artifact) -> dict[str, torch.Tensor]:
    """What the denoiser may be shown, in the units of the autoencoder."""
    moments = artifact.read_tensors("moments")
    mean, std = (moments[name][:, None, None] for name in ("mean", "std"))
    tensors = artifact.read_tensors("latents")
    assert {values.dtype for values in tensors.values()} == {torch.float16}
    return {name: values.float() * std + (0 if name == "std" else mean) for name, values in tensors.items()}


def test_the_autoencoder_is_measured_on_all_test_images(store):
    made = run(store, {})
    assert list(latents(made["latents"])) == ["latents"]
    metrics = made["autoencoder"].manifest.metrics
    images = made["dataset"].read_tensors("images")["images"]
    model = load_autoencoder(made["autoencoder"])
    test = images[made["dataset"].read_json("info")["num_train"] :]
    with torch.inference_mode():
        mean, std = model.encode(to_input(test))
        restored = to_bytes(model.decode(mean))
    error = (restored.double() - test.double()).square().mean() / 255**2
    assert len(test) == 359
    assert metrics["test_psnr_db"] == pytest.approx(float(-10 * error.log10()), rel=1e-5)
    assert metrics["test_ssim"] == pytest.approx(float(structural_similarity(test, restored).mean()), abs=1e-5)
    described = made["autoencoder"].read_json("latents")
    assert described["latent_std"] == pytest.approx(mean.double().std((0, 2, 3), unbiased=False).tolist(), rel=1e-4)
    assert described["posterior_std"] == pytest.approx(std.double().square().mean((0, 2, 3)).sqrt().tolist(), rel=1e-4)


def test_pixels_need_no_training_and_come_back_to_half_a_grey_level(store):
    made = run(store, {"autoencoder.kind": "pixel"})
    files = {path.name for path in made["autoencoder"].root.iterdir()}
    assert files == {"codec.json", "history.parquet", "reconstructions.safetensors", "manifest.json"}
    assert made["autoencoder"].read_table("history").empty
    pixels = latents(made["latents"])["latents"]
    images = made["dataset"].read_tensors("images")["images"][: len(pixels)]
    restored = load_autoencoder(made["autoencoder"]).decode(pixels)
    assert (restored - to_input(images)).abs().max() < 1 / 255


def test_principal_components_need_no_training_and_keep_their_proportions(store):
    made = run(store, LINEAR)
    assert made["autoencoder"].read_table("history").empty
    images = to_input(made["dataset"].read_tensors("images")["images"][:1438]).flatten(1)
    twin = PCA(n_components=20, svd_solver="full").fit(images.double().numpy())
    encoded = latents(made["latents"])["latents"].flatten(1)
    assert encoded.shape == (1438, 20)
    restored = twin.inverse_transform(twin.transform(images.numpy()))
    own = load_autoencoder(made["autoencoder"]).decode(encoded[:, :, None, None]).flatten(1)
    assert own.numpy() == pytest.approx(restored, abs=0.02)
    stored = made["latents"].read_tensors("latents")["latents"].double().flatten(1)
    assert stored.square().mean() == pytest.approx(1, abs=1e-3)
    variances = twin.explained_variance_
    assert stored.var(0).numpy() == pytest.approx(variances / variances.mean(), rel=2e-3)


def test_mirror_images_are_encoded_too(store):
    made = run(store, {"latents.augmentation": "flip"})
    images = made["dataset"].read_tensors("images")["images"]
    encoded, plain = latents(made["latents"]), latents(run(store, {})["latents"])
    assert encoded.keys() == {"latents", "mirrored"}
    assert encoded["latents"].numpy() == pytest.approx(plain["latents"].numpy(), abs=1e-2)
    with torch.inference_mode():
        expected = load_autoencoder(made["autoencoder"]).encode(to_input(images[:50]).flip(-1))[0]
    assert encoded["mirrored"][:50].numpy() == pytest.approx(expected.numpy(), abs=1e-2)
    both = torch.cat([values.float() for values in made["latents"].read_tensors("latents").values()])
    assert both.mean((0, 2, 3)).tolist() == pytest.approx([0] * 4, abs=1e-3)
    assert both.std((0, 2, 3)).tolist() == pytest.approx([1] * 4, abs=1e-3)


def test_the_spread_of_the_posterior_is_kept_in_the_units_of_the_latents(store):
    made = run(store, {"latents.augmentation": "posterior"})
    images = made["dataset"].read_tensors("images")["images"]
    encoded = latents(made["latents"])
    with torch.inference_mode():
        mean, std = load_autoencoder(made["autoencoder"]).encode(to_input(images[:50]))
    assert encoded["latents"][:50].numpy() == pytest.approx(mean.numpy(), abs=1e-2)
    assert encoded["std"][:50].numpy() == pytest.approx(std.numpy(), rel=1e-2)
    stored = {name: values.double() for name, values in made["latents"].read_tensors("latents").items()}
    drawn = stored["latents"].square() + stored["std"].square()  # E z^2
    assert drawn.mean((0, 2, 3)).tolist() == pytest.approx([1] * 4, abs=1e-3)


def test_the_user_s_own_autoencoder_is_copied_so_that_the_artifact_stands_alone(store, tmp_path):
    folder = tmp_path / "vae"
    overrides = {"autoencoder.kind": "pretrained", "autoencoder.pretrained": save(folder, 3)}
    made = run(store, overrides)
    assert made["autoencoder"].read_table("history").empty
    assert latents(made["latents"])["latents"].shape == (1438, 2, 4, 4)
    key = made["latents"].manifest.key
    folder.rename(tmp_path / "moved")
    moved = run(store, overrides | {"autoencoder.pretrained": str(tmp_path / "moved")})
    assert moved["latents"].manifest.key == key  # its content is what the key covers
    assert load_autoencoder(moved["autoencoder"]).copies == 3


def test_an_augmentation_belongs_to_the_latents_and_not_to_the_autoencoder(store):
    plain, flipped = run(store, {}), run(store, {"latents.augmentation": "flip"})
    assert plain["autoencoder"].manifest == flipped["autoencoder"].manifest
    assert plain["latents"].manifest.key != flipped["latents"].manifest.key

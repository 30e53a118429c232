"""What is exported: plain diffusers draws the run's own images with it, to the bit, and a reader learns what it is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from fedsyn.artifacts import Artifact, Store
from fedsyn.artifacts.files import sha256
from fedsyn.config import Autoencoder, Denoiser
from fedsyn.export import ExportError, export, open_run
from fedsyn.schemas import SYNTHETIC_IMAGES
from tests import handmade
from tests.models.test_codecs import save
from tests.synthesis.untrained import AUTOENCODER, publish_inputs, publish_synthesis

PIXELS = Autoencoder(kind="pixel", unshuffle=2)
DENOISER = Denoiser(channels=(8, 16), attention=False)
LINEAR, VECTORS = Autoencoder(kind="linear", latent_channels=12), Denoiser(architecture="mlp", channels=(16,))
NOISE, FLOW, SHORT_FLOW = (
    DENOISER.model_copy(update=changes)
    for changes in ({"prediction": "epsilon"}, {"prediction": "flow"}, {"prediction": "flow", "timesteps": 10})
)
PART = {"guidance_scale": 4, "guidance_interval": [0.1, 0.7]}  # of three steps two
RUNS = {
    "guided": (AUTOENCODER, DENOISER, {"guidance_scale": 1.5, "sampler": "dpm-solver++"}),
    "noise": (AUTOENCODER, NOISE, {"guidance_scale": 1, "sampler": "ddim"}),
    "pool": (AUTOENCODER, DENOISER, {"guidance_scale": 2.5, "sampler": "unipc", "shared_pool": True}),
    "part": (AUTOENCODER, DENOISER, PART),
    "pixels": (PIXELS, FLOW, {"sampler": "euler", **PART}),
    "colours": ("own", SHORT_FLOW, PART),
    "vectors": (LINEAR, VECTORS, {"guidance_scale": 1.5}),
    "flow": (AUTOENCODER, FLOW, {"sampler": "unipc", **PART}),
}
"""Autoencoder (`own`: one of the user's, of three colours), denoiser and settings of the synthesis."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict[str, tuple[Path, Artifact]]:
    """The folder of each run, and its synthesis."""
    found = {}
    own = Autoencoder(kind="pretrained", pretrained=save(tmp_path_factory.mktemp("own") / "vae", 3))
    for name, (autoencoder, denoiser, settings) in RUNS.items():
        root = tmp_path_factory.mktemp(name)
        store = Store(root / "store")
        inputs = publish_inputs(store, denoiser, autoencoder=own if autoencoder == "own" else autoencoder)
        synthesis = publish_synthesis(store, inputs, seed=7, **settings)
        export(*open_run(store, synthesis.manifest), root / "out")
        found[name] = (root / "out", synthesis)
    return found


ELSEWHERE = """
import io, json, sys
import numpy as np, pyarrow.parquet as pq, torch
from PIL import Image
from diffusers import DiffusionPipeline

torch.set_num_threads(1)
same = {}
for folder in sys.argv[1:]:
    pipe = DiffusionPipeline.from_pretrained(f"{folder}/model", trust_remote_code=True)
    pipe.set_progress_bar_config(disable=True)
    table = pq.read_table(f"{folder}/dataset/data/train.parquet").to_pandas()
    shared = pipe.config.sampling["guidance_scale"] == 2.5
    drawn = table.drop_duplicates(["class_id", "index"]) if shared else table  # the batch in which it was drawn
    names = drawn[["seed", "class_id", "index", "client_id"]].to_numpy().tolist()
    noise = [pipe.noise(*name[:3], None if shared else name[3]) for name in names]
    images = pipe(drawn["class_id"].tolist(), latents=torch.stack(noise)).images
    stored = [np.asarray(Image.open(io.BytesIO(image["bytes"]))) for image in drawn["image"]]
    same[folder] = [len(stored), sum(bool((np.asarray(one) == other).all()) for one, other in zip(images, stored))]
    floats = pipe(["owl", 0], latents=torch.stack(noise[:2]), output_type="np").images
    assert floats.shape == (2, 6, 6, 1) and 0 <= floats.min() <= floats.max() <= 1
    for wrong in ("bear", 3):
        try:
            pipe([wrong])
        except ValueError as error:
            assert "class_labels must be of [0, 1, 2] or ['cat', 'dog', 'owl']" in str(error), error
        else:
            raise AssertionError(wrong)
    one, other = (pipe([0, 1], generator=torch.Generator().manual_seed(seed)).images for seed in (1, 2))
    assert (np.asarray(one[0]) != np.asarray(other[0])).any()
assert "fedsyn" not in sys.modules
print(json.dumps(same))
"""


def test_plain_diffusers_draws_the_stored_images_bit_for_bit(exported, tmp_path):
    folders = [str(folder) for folder, _ in exported.values()]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    outcome = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *folders],
        cwd=tmp_path,
        env=environment | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert outcome.returncode == 0, outcome.stderr
    found = json.loads(outcome.stdout.splitlines()[-1])
    assert found == {folder: [6, 6] if "pool" in folder else [24, 24] for folder in folders}


def test_what_is_copied_is_what_the_store_holds(exported):
    folder, synthesis = exported["guided"]
    store = Store(synthesis.root.parent.parent)
    files = {
        "dataset/data/train.parquet": synthesis.root / "images.parquet",
        "model/unet/diffusion_pytorch_model.safetensors": store.folder("denoiser", handmade.KEY)
        / "unet/diffusion_pytorch_model.safetensors",
        "model/vae/diffusion_pytorch_model.safetensors": store.folder("autoencoder", handmade.KEY)
        / "vae/diffusion_pytorch_model.safetensors",
    }
    for name, original in files.items():
        assert (folder / name).read_bytes() == original.read_bytes(), name


def test_no_list_in_the_index_is_taken_for_a_part(exported):
    """diffusers, downloading from the Hub, takes every list for [library, class] of a folder."""
    schedulers = {
        "guided": "DPMSolverMultistepScheduler",
        "pixels": "FlowMatchEulerDiscreteScheduler",
        "flow": "UniPCMultistepScheduler",
    }
    for run, scheduler in schedulers.items():
        index = json.loads((exported[run][0] / "model/model_index.json").read_text())
        parts = {name: value for name, value in index.items() if isinstance(value, list) and name != "_class_name"}
        assert parts == {
            "unet": ["diffusers", "UNet2DModel"],
            "vae": [None, None] if run == "pixels" else ["diffusers", "AutoencoderKL"],
            "scheduler": ["diffusers", scheduler],
        }


def test_hugging_face_datasets_takes_the_features_that_the_file_names():
    """It keeps a feature of the metadata where its Arrow type is that of the column, and guesses it where it is not: an
    Image is a struct of bytes and path."""
    features = json.loads(SYNTHETIC_IMAGES.metadata[b"huggingface"])["info"]["features"]
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    types = {
        name: image if one["_type"] == "Image" else pa.type_for_alias(one["dtype"]) for name, one in features.items()
    }
    assert types == {field.name: field.type for field in SYNTHETIC_IMAGES}


def card(folder: Path) -> tuple[dict, str]:
    """Header and text of a README.md."""
    _, header, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(header), text


def test_cards_say_what_it_is_and_where_it_comes_from(exported):
    folder, synthesis = exported["guided"]
    header, text = card(folder / "dataset")
    assert header["configs"][0]["data_files"] == [{"split": "train", "path": "data/train.parquet"}]
    assert "24 images of 3 classes, 6 x 6 pixels" in text
    assert "| 2 | owl | 8 |" in text
    assert sha256(synthesis.root / "images.parquet") in text
    model_header, model_text = card(folder / "model")
    assert model_header["library_name"] == "diffusers"
    assert "guidance_scale=1.5" in model_text
    for shown in (text, model_text):
        assert "| seed | 7 |" in shown
        assert f"`denoiser/{handmade.KEY}`" in shown
        assert "denoiser was trained without differential privacy" in shown
    assert "the autoencoder on all their training images, the denoiser\non 12 labelled" in model_text
    assert "class-conditional latent diffusion model" in model_text
    assert "guidance_interval=" not in model_text
    pooled = card(exported["pool"][0] / "dataset")[1]
    assert "a pool of 6 different images" in pooled
    assert "pool" not in text.split("```yaml")[0]


def test_cards_speak_of_no_training_that_there_was_not(exported):
    pixels, own = (
        card(exported[run][0] / "model")[1].split("## Where it comes from")[0] for run in ("pixels", "colours")
    )
    assert "class-conditional flow-matching model" in pixels
    assert "autoencoder" not in pixels
    assert "guidance_scale=4.0, guidance_interval=[0.1, 0.7])" in pixels
    assert "class-conditional latent flow-matching model" in own
    assert "an image: the denoiser\non 12 labelled and pseudo-labelled images" in own
    assert "autoencoder was not trained by the federation" in own
    assert "autoencoder was trained" not in own
    assert "drawn by a flow-matching model" in card(exported["pixels"][0] / "dataset")[1]


def test_a_folder_with_something_in_it_is_refused_and_left_alone(exported, tmp_path):
    _, synthesis = exported["guided"]
    found = open_run(Store(synthesis.root.parent.parent), synthesis.manifest)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "file").write_text("x")
    for name in ("mine", "file"):
        with pytest.raises(
            ExportError, match=rf"--to must name a folder that is empty or not there.*{name}; name another"
        ):
            export(*found, tmp_path / name)
    (tmp_path / "empty").mkdir()
    export(*found, tmp_path / "empty")
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == ["dataset", "model"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "mine"]


def test_an_export_that_fails_leaves_nothing(exported, tmp_path):
    _, synthesis = exported["guided"]
    found, inputs = open_run(Store(synthesis.root.parent.parent), synthesis.manifest)
    broken = inputs | {"latents": Artifact(tmp_path / "nowhere", inputs["latents"].manifest)}
    with pytest.raises(FileNotFoundError):
        export(found, broken, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_a_synthesis_was_drawn_with_must_be_there(tmp_path):
    store = Store(tmp_path)
    synthesis = publish_synthesis(store, publish_inputs(store), guidance_scale=1).manifest
    (store.folder("latents", handmade.KEY) / "manifest.json").unlink()
    with pytest.raises(ExportError, match=rf"latents/{handmade.KEY}, which synthesis/\w+ was made from, is not in the"):
        open_run(store, synthesis)

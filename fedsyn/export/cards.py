"""The README.md of an exported model and of a data set: what it is, how to use it, from which run it comes."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from fedsyn import __version__
from fedsyn.artifacts import Artifact
from fedsyn.diffusion.sampling import is_flow


def model_card(synthesis: Artifact, inputs: Mapping[str, Artifact]) -> str:
    """README.md of the model, with the header that the Hugging Face Hub reads."""
    header = {"library_name": "diffusers", "tags": ["class-conditional-image-generation", "federated-learning"]}
    return _render("model", header, synthesis, inputs, files={})


def dataset_card(
    synthesis: Artifact, inputs: Mapping[str, Artifact], images_of_class: Sequence[int], files: Mapping[str, str]
) -> str:
    """README.md of the data set, with the header that `load_dataset` reads.

    `images_of_class`: rows of each class; `files`: names and SHA-256 of what lies beside it.
    """
    header = {
        "pretty_name": f"Synthetic images of {inputs['dataset'].read_json('info')['name']}",
        "task_categories": ["image-classification"],
        "tags": ["synthetic", "federated-learning"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train.parquet"}]}],
    }
    return _render("dataset", header, synthesis, inputs, files, images_of_class=images_of_class)


def _render(
    name: str,
    header: Mapping[str, Any],
    synthesis: Artifact,
    inputs: Mapping[str, Artifact],
    files: Mapping[str, str],
    **more: object,
) -> str:
    manifest = synthesis.manifest
    autoencoder = inputs["autoencoder"].read_json("codec")["kind"]
    flow = is_flow(inputs["denoiser"].read_json("scheduler/scheduler_config"))
    loader = PackageLoader("fedsyn.export", package_path="")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    body = environment.get_template(f"{name}.md.jinja").render(
        info=inputs["dataset"].read_json("info"),
        num_clients=f"{inputs['partition'].read_json('summary')['num_clients']:,}",
        autoencoder=autoencoder,
        model=f"{'' if autoencoder == 'pixel' else 'latent '}{'flow-matching' if flow else 'diffusion'} model",
        trained={stage: artifact.manifest.metrics for stage, artifact in inputs.items()},
        synthesis=manifest,
        settings=manifest.config["synthesis"],
        measured=manifest.metrics,
        attempt=manifest.attempts[-1],
        files=files,
        version=__version__,
        yaml=_yaml,
        **more,
    )
    return f"---\n{_yaml(header)}---\n\n{body}\n"


def _yaml(values: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True))

"""What is computed: one section for each stage. A stage's key covers the sections that it reads."""

from pydantic import Field, model_validator

from fedsyn.config.classification import Baselines, Classifier, Judge, Retrain
from fedsyn.config.data import Dataset, Partition
from fedsyn.config.generation import Autoencoder, Denoiser, Latents, Synthesis
from fedsyn.config.labels import PseudoLabels, Selection
from fedsyn.config.quality import Quality
from fedsyn.config.section import Section


class Report(Section):
    """The pictures and the page."""

    images_per_class: int = Field(8, ge=1, le=20, description="Images of a class in the real-beside-synthetic picture")


class Experiment(Section):
    """Everything that decides what is computed.

    The same Experiment gives the same bytes on the same device with the same number of threads.
    """

    seed: int = Field(0, ge=0, le=2**63 - 1, description="Seed of every draw of this run")
    dataset: Dataset = Dataset()
    partition: Partition = Partition()
    classifier: Classifier = Classifier()
    pseudo_labels: PseudoLabels = PseudoLabels()
    selection: Selection = Selection()
    autoencoder: Autoencoder = Autoencoder()
    latents: Latents = Latents()
    denoiser: Denoiser = Denoiser()
    synthesis: Synthesis = Synthesis()
    retrain: Retrain = Retrain()
    baselines: Baselines = Baselines()
    judge: Judge = Judge()
    quality: Quality = Quality()
    report: Report = Report()

    @model_validator(mode="after")
    def _sections_fit_together(self) -> "Experiment":
        if self.pseudo_labels.calibration == "held_out" and self.partition.calibration_fraction == 0:
            raise ValueError(
                "pseudo_labels.calibration 'held_out' needs partition.calibration_fraction > 0; "
                "set it (0.2, say) or choose pseudo_labels.calibration 'cross_fit' or 'train'"
            )
        if self.pseudo_labels.calibration == "cross_fit" and self.partition.calibration_fraction > 0:
            raise ValueError(
                "pseudo_labels.calibration 'cross_fit' calibrates with the labels of the training, so that a slice "
                f"held out beside them would be lost: set partition.calibration_fraction 0, got "
                f"{self.partition.calibration_fraction}, or choose pseudo_labels.calibration 'held_out'"
            )
        if self.pseudo_labels.calibration == "cross_fit" and self.retrain.cycles > 1:
            raise ValueError(
                f"retrain.cycles must be 1 with pseudo_labels.calibration 'cross_fit', got {self.retrain.cycles}: its "
                "classifiers are trained on folds of the labels alone and say nothing of a retrained one; choose "
                "pseudo_labels.calibration 'held_out' or 'train'"
            )
        if self.synthesis.steps > self.denoiser.timesteps:
            raise ValueError(
                f"synthesis.steps must be <= denoiser.timesteps ({self.denoiser.timesteps}), got {self.synthesis.steps}"
            )
        if self.synthesis.guidance_scale > 1 and self.denoiser.label_dropout == 0:
            raise ValueError(
                "synthesis.guidance_scale > 1 needs denoiser.label_dropout > 0: guidance uses the model without label"
            )
        return self

    @model_validator(mode="after")
    def _latents_fit_the_autoencoder(self) -> "Experiment":
        if self.latents.augmentation == "posterior" and self.autoencoder.kind in ("pixel", "linear"):
            raise ValueError(
                "latents.augmentation 'posterior' draws from an autoencoder's distribution, which autoencoder.kind "
                f"'{self.autoencoder.kind}' does not have; choose 'flip' or 'none', or another kind"
            )
        if self.autoencoder.kind == "linear" and self.denoiser.architecture != "mlp":
            raise ValueError(
                "autoencoder.kind 'linear' makes vectors, in which denoiser.architecture "
                f"'{self.denoiser.architecture}' would find no neighbours; choose 'mlp', or another kind"
            )
        return self

    @model_validator(mode="after")
    def _sampler_fits_the_prediction(self) -> "Experiment":
        sampler, prediction = self.synthesis.sampler, self.denoiser.prediction
        if (sampler == "ddim" and prediction == "flow") or (sampler == "euler" and prediction != "flow"):
            raise ValueError(
                f"synthesis.sampler {sampler!r} cannot follow denoiser.prediction {prediction!r}: 'euler' is for "
                "'flow', 'ddim' for the others; choose 'dpm-solver++' or 'unipc', which follow both"
            )
        return self

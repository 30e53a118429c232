"""What is computed (`Experiment`) and how (`Execution`).

Both are frozen and validated at the door; their descriptions are the form in Prefect's UI.
"""

from fedsyn.config.classification import Baselines, Classifier, Judge, Retrain
from fedsyn.config.data import Dataset, Partition
from fedsyn.config.execution import OF_THE_MACHINE, Execution, variable
from fedsyn.config.experiment import Experiment, Report
from fedsyn.config.federated import FederatedTraining, Privacy, Server
from fedsyn.config.generation import Autoencoder, Denoiser, Latents, Synthesis
from fedsyn.config.labels import PseudoLabels, Selection
from fedsyn.config.quality import Quality
from fedsyn.config.section import IN_GRAPH, NOT_IN_KEY, Section

__all__ = [
    "IN_GRAPH",
    "NOT_IN_KEY",
    "OF_THE_MACHINE",
    "Autoencoder",
    "Baselines",
    "Classifier",
    "Dataset",
    "Denoiser",
    "Execution",
    "Experiment",
    "FederatedTraining",
    "Judge",
    "Latents",
    "Partition",
    "Privacy",
    "PseudoLabels",
    "Quality",
    "Report",
    "Retrain",
    "Section",
    "Selection",
    "Server",
    "Synthesis",
    "variable",
]

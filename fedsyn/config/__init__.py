"""What is computed (`Experiment`) and how (`Execution`).

Both are frozen and validated at the door; their descriptions are the form in Prefect's UI.
"""

from fedsyn.config.execution import OF_THE_MACHINE, Execution, variable
from fedsyn.config.experiment import (
    Autoencoder,
    Classifier,
    Dataset,
    Denoiser,
    Experiment,
    Partition,
    PseudoLabels,
    Report,
    Retrain,
    Selection,
    Synthesis,
)
from fedsyn.config.federated import FederatedTraining, Privacy, Server
from fedsyn.config.section import NOT_IN_KEY, Section

__all__ = [
    "NOT_IN_KEY",
    "OF_THE_MACHINE",
    "Autoencoder",
    "Classifier",
    "Dataset",
    "Denoiser",
    "Execution",
    "Experiment",
    "FederatedTraining",
    "Partition",
    "Privacy",
    "PseudoLabels",
    "Report",
    "Retrain",
    "Section",
    "Selection",
    "Server",
    "Synthesis",
    "variable",
]

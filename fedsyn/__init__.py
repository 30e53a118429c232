"""Diffusion-model-based data synthesis for federated semi-supervised learning (DDSA-FSSL, arXiv 2501.02219)."""

__version__ = "0.1.0"

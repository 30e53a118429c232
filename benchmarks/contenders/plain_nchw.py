"""The hand-written loop of plain_channels_last.py with activations in PyTorch's default layout, NCHW."""

from plain_channels_last import run

run("plain_nchw", channels_last=False)

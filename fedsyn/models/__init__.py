"""The networks: a small GroupNorm CNN, torchvision's ResNet, diffusers' autoencoder and U-Net."""

"""Step 3 and 4: latents, the denoiser's loss, and the sampler."""

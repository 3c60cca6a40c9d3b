"""Pretraining and tuning: LightningModules, latents computed once, checkpoints, interruption."""

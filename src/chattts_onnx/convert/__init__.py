"""Checkpoint to model directory: build time only."""

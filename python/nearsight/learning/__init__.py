"""The loops that learn: nearsighted force training, retraining, dynamics that retrains."""

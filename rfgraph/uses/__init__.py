"""What receptive fields are good for: each module reads the results of an analysis."""

"""PyTorch: saved ``.pt2`` files and live modules, read into the tensor program. Only ``live`` needs torch."""

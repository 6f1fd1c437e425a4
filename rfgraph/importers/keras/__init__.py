"""Keras 3: ``.keras`` files and live models, read into the tensor program. Only ``live`` needs keras."""

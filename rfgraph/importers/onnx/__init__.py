"""ONNX files, read into the tensor program: a reader and a table of handlers."""

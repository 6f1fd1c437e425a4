"""TFLite files, read into the tensor program with a flatbuffer schema only."""

"""TensorFlow graphs and SavedModels, read into the tensor program with protobuf only."""

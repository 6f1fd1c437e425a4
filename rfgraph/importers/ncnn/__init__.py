"""Models of ncnn: a reader of its parameter files, and a table of handlers of its layers."""

"""Models of OpenVINO: a reader of its XML, and a table of handlers of its operations."""

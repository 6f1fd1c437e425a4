"""From tensor program to network graph: which tensor dimension carries which spatial axis, and what ops read.

This room knows the tensor program and the builder of networks; it knows no model format.
"""

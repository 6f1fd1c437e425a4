"""Passes over a network: what every node reads of a source, what an output reads of every node, and more of the kind.

This room knows compiled networks; it judges nothing and words nothing. Questions are asked in ``rfgraph.questions``.
"""

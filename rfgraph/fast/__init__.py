"""Fast twins of the passes: the walk over plain networks, and compiled loops over networks given as arrays.

A twin gives the answers of a domain of ``rfgraph.passes``, for the networks that it takes. Its head names the domain
and the property test that holds the two together. What SAME padding is stands in
``rfgraph.ops.sliding.Sliding.pads``, and when branches line up in ``rfgraph.algebra.alignment.compare``: twins state
neither again.
"""

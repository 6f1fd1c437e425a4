"""Fast twins of the passes: the walk over plain networks, and compiled loops over networks given as arrays.

Each gives what a pass of ``rfgraph.passes`` gives, and is held against it by a property test.
"""

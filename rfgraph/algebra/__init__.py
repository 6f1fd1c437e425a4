"""The window algebra: which inputs one output reads along one axis, and the closed forms of single paths.

Integers and fractions only. This room knows no op, no network and no format.
"""

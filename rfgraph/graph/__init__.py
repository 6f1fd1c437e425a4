"""Networks as graphs: reading and checking them, what users say of their nodes, sizes of maps, costs of layers.

This room knows ops and the window algebra; it knows no pass and no format.
"""

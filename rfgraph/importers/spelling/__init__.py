"""What formats share in spelling their ops with primitives: the registry of handlers, common operations, archives.

This room knows the tensor program; it knows no single format.
"""

"""What users ask of a network: alignment, support, paths, global context, productivity, features of pixels.

Each module reads what passes found and answers one question; none knows which format a model came from.
"""

"""Model files with changes of one's own: what was found written into them, paddings repaired. All else stays as it is.

Weights are neither read nor written: what is external stays where it is.
"""

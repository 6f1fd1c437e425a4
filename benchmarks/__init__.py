"""What rfgraph costs, beside ``list(nx.topological_sort(graph))`` in the same run: ``python -m benchmarks``."""

"""SlimGPT: layer-wise structured pruning of large language models.

The engine takes a checkpoint folder and gives back a smaller one with a report
(SlimGPT, NeurIPS 2024, arXiv 2412.18110). Importing this package imports neither
torch nor transformers; the modules that need them do.
"""

__version__ = "0.1.0"

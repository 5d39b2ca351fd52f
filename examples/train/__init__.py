"""Makes `examples/model`: a small Llama trained on the English that every CPython carries.

`python -m examples.train --out DIR` repeats it: `corpus` gathers the source of the standard
library, `vocabulary` learns the tokens, `training` fits the model, `card` says what came out.
"""

"""Other authors' methods, on models of transformers in memory; each file says what it omits."""

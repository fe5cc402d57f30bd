"""The losses of the methods, one a file: pure functions of normalised or raw embeddings, computed in fp32."""

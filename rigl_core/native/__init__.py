"""C that this machine's own compiler makes at first use, for what PyTorch has no quick way to compute on a CPU."""

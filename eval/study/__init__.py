"""Who learns and who is tested: protocol, partition, draws, starts, features, and the cells they end in."""

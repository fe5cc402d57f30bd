"""What lies on disk: manifest, index columns, tar members."""

"""Published networks: where they are, and how they become model files of this package."""

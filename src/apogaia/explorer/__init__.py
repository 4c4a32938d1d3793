"""The explorer: one HTML file to explore a catalogue of distances."""

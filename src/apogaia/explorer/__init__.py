"""The explorer: one HTML file in which a catalogue of distances is looked at."""

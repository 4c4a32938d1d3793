"""Transport: many files at a time, resumed, checked before they get their names."""

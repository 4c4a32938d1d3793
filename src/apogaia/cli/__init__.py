"""The command line: `apogaia data | mock | fetch | reduce | distance | zeropoint`."""

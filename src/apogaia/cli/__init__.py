"""The command line: `apogaia data | mock | fetch | reduce | distance | parameters | astra | zeropoint | models | import-model`."""

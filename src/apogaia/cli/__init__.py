"""The command line: `apogaia --help` lists the commands."""

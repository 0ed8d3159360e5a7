"""The command line: `mesh-nb log ...`."""

"""The live engine: state, commits and files that grow while it runs."""

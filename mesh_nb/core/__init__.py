"""The engine: imports nothing above itself."""

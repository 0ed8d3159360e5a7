"""Event logs to DataFrames: one file each."""

"""Where a run is shown: one file each."""

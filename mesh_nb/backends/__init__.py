"""Event log stores: one file each."""

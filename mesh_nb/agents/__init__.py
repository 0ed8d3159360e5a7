"""Foreign agents as nodes: one file each."""

"""Virtual devices: what a migration is rehearsed on."""

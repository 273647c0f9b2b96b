"""What runs in the initramfs: straight-line code, standard library only."""

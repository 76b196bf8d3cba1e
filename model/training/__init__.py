"""Train a pack of heads on one device."""

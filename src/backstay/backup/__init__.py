"""The six steps of a backup."""

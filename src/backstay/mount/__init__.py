"""Restore points as folders of this machine: a read-only file system in user space."""

"""From a restore point back to files."""

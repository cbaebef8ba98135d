"""Reading and writing real files with everything that belongs to them."""

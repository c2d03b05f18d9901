"""Class folders, on a disk or in an archive."""

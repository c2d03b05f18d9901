"""Data sets that have a name: fetched, or made from what is installed."""

"""What `compare_peers.py` is made of: measuring in alternation, the comparisons, and their table and figure."""

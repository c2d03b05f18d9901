"""Tables of images: CSV, Parquet."""

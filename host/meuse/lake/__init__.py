"""The lake: Parquet files beside the journal, written from it by a process of its own."""

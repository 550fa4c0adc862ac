"""Reading: the lake and the journal's tail as one table, also while the host is writing."""

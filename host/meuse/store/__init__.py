"""The store on a server: the logical table in PostgreSQL, written by COPY, each row exactly once."""

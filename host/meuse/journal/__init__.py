"""The journal: every record as it came, durable before it is acknowledged."""

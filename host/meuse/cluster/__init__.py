"""Beyond one machine: committed records travel in batches over a NATS JetStream cluster to groups of workers."""

"""HTTP for backends."""

"""Another host upstream: what is durable here is sent on to it, as every board itself would."""

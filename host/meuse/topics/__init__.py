"""Topics for backends: what is in the journal, published over MQTT; docs/topics.md is the promise."""

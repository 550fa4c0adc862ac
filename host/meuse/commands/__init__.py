"""Commands to boards: asked for in the journal's database, sent until their RESULT is durable, done when measured."""

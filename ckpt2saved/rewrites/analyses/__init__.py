"""What is known of a training's graph before it is rewritten; nothing here edits."""

"""``attribution audit``: replays what the newest commit had read and holds it against what was published."""

"""Settings: where they come from, what they may be, and what is refused before anything is connected to."""

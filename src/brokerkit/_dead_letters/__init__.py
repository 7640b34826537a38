"""Dead letters: writing, storing, reading, replaying and purging them."""

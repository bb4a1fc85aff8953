"""Files written by former versions, and what must be read from them."""

"""From messages to questions a person asks: what CodeWorm did, what went wrong, what it adds up to."""

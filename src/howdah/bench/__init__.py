"""`howdah bench`: what the engine costs, beside a loop that does nothing else, in one run on your own database."""

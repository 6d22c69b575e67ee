"""Poller: asks again and again for instructions, over any store."""

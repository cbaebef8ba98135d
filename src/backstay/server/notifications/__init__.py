"""Sends alerts to people: one file a channel, listed in `registry`."""

"""All that agent and server say to each other."""

"""What the server gives to machines that are to become file servers: the agent, and how it is installed."""

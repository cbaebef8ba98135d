"""Stand-ins and the suites that every storage and provider must pass."""

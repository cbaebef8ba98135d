"""The agent: carries out on a file server what the server orders."""

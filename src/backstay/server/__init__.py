"""The control plane: knows every file server, keeps policies, jobs and catalogue, serves API and console."""

"""Configuration: what a node and its services may be told, and where each value came from."""

"""Parts of `bench/fuzz_mcp.py`: messages, the requests around them, and the connections that send those."""

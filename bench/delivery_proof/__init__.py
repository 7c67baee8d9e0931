"""The parts of `bench/prove_delivery.py`."""

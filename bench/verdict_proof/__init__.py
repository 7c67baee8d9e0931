"""Parts of `bench/canary_sim.py`: simulated traffic, rollouts and replays judged by the code that ships, scenarios."""

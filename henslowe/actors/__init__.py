"""The actors: the kernel that runs them, what they say to each other, and one module or folder per domain actor.

`kernel` is OTP on pykka. `ids`, `vocabulary`, `names`, `launch`, `endpoints`, `routes` and `messages` are the shared
language: plain frozen data that every domain actor and the transports understand. The domain actors themselves (`bus`,
`watcher`, `pipeline`, `versions`, `router`, `transforms`, `sessions`, `instances`, `context`) never import each other:
they send messages to names.
"""

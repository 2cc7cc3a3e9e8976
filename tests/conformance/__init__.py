"""Every tracking client against the real thing: the same cases, read back from the backend itself.

`subjects` says how each client is made and how its backend is read; `test_conformance` has the
cases. They run in an environment of their own (`make conformance`), which has all backends.
"""

"""Faults while versions are published and pruned: kill -9, failing system calls, races, full disks, object stores.

python -m tests.faults prints the figures; docs/development/testing.md says how to run it.
"""

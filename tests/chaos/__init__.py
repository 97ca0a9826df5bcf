"""Proof by chaos: faults at random, but by a seed, and a checker of what became of it.

``python -m tests.chaos --help`` runs it; the tests here run it for a short while.
"""

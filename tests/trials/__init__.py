"""Trials: faults injected into real daemons, their promises checked from outside. See docs/explanation/trials.md."""

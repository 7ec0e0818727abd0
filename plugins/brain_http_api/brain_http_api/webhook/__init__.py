"""Webhooks: the trigger type, its secrets, and what takes deliveries."""

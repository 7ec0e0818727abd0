"""Plugins that ship with brain-core; they enter by entry point like any other, and no other room imports them."""

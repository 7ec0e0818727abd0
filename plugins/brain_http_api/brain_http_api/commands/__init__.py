"""The commands that this plugin adds to `brain`, one file a noun."""

"""What happens over time: running steps, beating, sweeping, delivering. No SQL text in here."""

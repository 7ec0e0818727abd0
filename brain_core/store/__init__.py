"""The store: the only room that speaks SQL. Thin modules call the named statements in `sql/`."""

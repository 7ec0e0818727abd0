"""The boundary between brain-core and its plugins: the hooks (`spec`) and the manager that finds and guards them."""

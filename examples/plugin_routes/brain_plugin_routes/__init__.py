"""An example of a route for the HTTP API of brain-core: a badge with how a workflow went."""

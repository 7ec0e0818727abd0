"""brain-http-api: start runs, watch them and take webhooks over HTTP."""

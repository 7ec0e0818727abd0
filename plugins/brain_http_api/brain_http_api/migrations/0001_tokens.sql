-- Tokens of the API, hashed, and the generations of webhooks' secrets.
create schema brain_http_api;

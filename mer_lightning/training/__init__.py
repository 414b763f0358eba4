"""One fold's rounds, cross-validation, and the devices for them."""

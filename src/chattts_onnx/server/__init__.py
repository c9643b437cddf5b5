"""HTTP: knows requests and JSON."""

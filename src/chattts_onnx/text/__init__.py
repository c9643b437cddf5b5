"""Text to segments to token ids: knows language and vocabulary."""

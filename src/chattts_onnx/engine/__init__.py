"""Prompts to codes and hidden states: knows ids, arrays and time."""

"""One module for each concern; each has ``router(context)`` and keeps no state of its own."""

"""Speech recognition as an ear: error rates of what was spoken."""

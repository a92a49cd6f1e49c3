"""Images split three ways, decoded, in memory or streamed."""

"""Features of clips: choosing layers, pooling, symbolic features, views."""

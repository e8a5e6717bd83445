"""A piano transcription network: Transkun 2.0."""

"""Files that belong to no corpus: embedding, judging and ranking them with exported models."""

"""Files that belong to no corpus: embedding them, and judging them with an exported model."""

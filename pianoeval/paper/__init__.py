"""The 2026 paper, one command a table: what is run, and the paper's numbers beside ours."""

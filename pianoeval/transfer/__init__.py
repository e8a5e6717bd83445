"""Corpora predicted by models of another: difficulty, performers, shift of distribution."""

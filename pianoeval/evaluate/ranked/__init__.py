"""Who played it better: how well rankers order takes, and what their codes hold."""

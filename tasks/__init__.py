"""One Prefect task a stage: what it needs and what it publishes. No maths here."""

"""Step 2: predictions on unlabelled samples, and which of them to believe."""

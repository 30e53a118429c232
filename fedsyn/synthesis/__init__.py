"""Step 4: what each client lacks."""

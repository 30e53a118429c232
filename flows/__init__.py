"""The flows that chain the stage tasks."""
